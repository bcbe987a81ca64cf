"""Makes OpenAPI operations of RPCs, by the mapping of google.api.http (AIP-127)."""

from __future__ import annotations

import re

from services.gateway.openapi.contract import Binding, Contract, Method
from services.gateway.openapi.errors import answer_headers, failures
from services.gateway.openapi.example_values import UPLOAD
from services.gateway.openapi.examples import Examples
from services.gateway.openapi.parameters import Parameters, path_variables
from services.gateway.openapi.rules import Schema
from services.gateway.openapi.schemas import BINARY, HTTP_BODY, Schemas
from services.gateway.openapi.statuses import Statuses

_SENTENCE = re.compile(r"^.*?[.;:](?=\s|$)", re.DOTALL)
_STREAM = (
    "A stream: the `data:` line of each SSE event, or each line of an NDJSON stream, is one object of the schema. Send "
    "`Accept: application/x-ndjson` for NDJSON."
)


class Operations:
    """Makes the operation of each binding of a method."""

    def __init__(self, contract: Contract, schemas: Schemas, examples: Examples) -> None:
        self._contract = contract
        self._schemas = schemas
        self._examples = examples
        self._parameters = Parameters(contract, schemas)
        self._statuses = Statuses(contract)

    def operation(self, method: Method, binding: Binding, number: int) -> Schema:
        """Returns one operation. `number` counts a method's bindings from 1: identifiers must be unique."""
        suffix = f".{number}" if number > 1 else ""
        operation: Schema = {
            "tags": [method.service],
            "summary": summary(method.description),
            "description": described(method),
            "operationId": f"{method.full_name}{suffix}",
            "security": [{"bearerAuth": [method.scope]}],
            "parameters": self._parameters.of(method, binding),
        }
        body = self._request_body(method, binding)
        if body:
            operation["requestBody"] = body
        statuses = self._statuses.of(method, with_body=bool(binding.body))
        operation["responses"] = {"200": self._success(method), **failures(statuses)}
        return operation

    def _request_body(self, method: Method, binding: Binding) -> Schema | None:
        if not binding.body:
            return None
        if binding.body != "*":
            return self._field_body(method, binding.body)
        in_path = frozenset(path_variables(binding.path))
        message = self._schemas.message(method.request, in_path, sent=True)
        if not message["properties"]:
            return None
        schema = message if in_path else self._schemas.reference(method.request, sent=True)
        content = {"application/json": {"schema": schema, "examples": self._examples.bodies(method, "", message)}}
        return {"required": "required" in message, "content": content}

    def _field_body(self, method: Method, name: str) -> Schema:
        field = next(field for field in self._contract.messages[method.request].field if field.name == name)
        content: Schema
        if field.type_name == f".{HTTP_BODY}":
            content = {"application/octet-stream": {"schema": dict(BINARY), "example": UPLOAD}}
        else:
            schema = self._schemas.message(field.type_name.lstrip("."), sent=True)
            examples = self._examples.bodies(method, name, schema)
            content = {
                "application/json": {"schema": self._schemas.field(method.request, field, sent=True), "examples": examples}
            }
        return {"description": self._contract.comments[f"{method.request}.{name}"], "required": True, "content": content}

    def _success(self, method: Method) -> Schema:
        description = self._contract.comments[method.response] or "What was asked for."
        schema = self._schemas.reference(method.response)
        if not method.streams_response:
            return {"description": description, "headers": answer_headers(), "content": self._content(method, schema)}
        events = self._examples.stream(method)
        content: Schema = {"text/event-stream": {"schema": _sse_event(schema)}, "application/x-ndjson": {"schema": schema}}
        if events:
            content["text/event-stream"]["example"] = "".join(f"data: {event}\n\n" for event in events)
            content["application/x-ndjson"]["example"] = "".join(f"{event}\n" for event in events)
        return {"description": f"{description}\n\n{_STREAM}", "headers": answer_headers(), "content": content}

    def _content(self, method: Method, schema: Schema) -> Schema:
        if method.response == HTTP_BODY:
            return {"application/octet-stream": {"schema": schema}}
        example = self._examples.answer(method)
        return {"application/json": {"schema": schema} | ({} if example is None else {"example": example})}


def _sse_event(schema: Schema) -> Schema:
    """Returns the schema of an event as OpenAPI 3.2 has it: an SSE parser finds text in `data`, and the text is JSON."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def summary(description: str) -> str:
    """Returns the first sentence of a comment."""
    found = _SENTENCE.match(description)
    return (found.group() if found else description).rstrip(".;:")


def described(method: Method) -> str:
    """Returns what a method's comment says, and the scope that opens it."""
    return f"{method.description}\n\nNeeds a token with the scope `{method.scope}`."
