"""Makes OpenAPI operations of RPCs, by the mapping of google.api.http (AIP-127)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from services.gateway.openapi.contract import Binding, Contract, Method
from services.gateway.openapi.errors import error_references
from services.gateway.openapi.examples import request_example
from services.gateway.openapi.rules import Schema, is_required
from services.gateway.openapi.schemas import BINARY, HTTP_BODY, Schemas

_PATH_VARIABLE = re.compile(r"\{([^}]+)\}")
_SENTENCE = re.compile(r"^.*?[.;:](?=\s|$)", re.DOTALL)
_STREAM_TYPES = ("text/event-stream", "application/x-ndjson")


class Operations:
    """Makes the operation of each binding of a method."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas

    def operation(self, method: Method, binding: Binding, number: int) -> Schema:
        """Returns one operation. `number` counts a method's bindings from 1: identifiers must be unique."""
        suffix = f".{number}" if number > 1 else ""
        operation: Schema = {
            "tags": [method.service],
            "summary": _summary(method.description),
            "description": method.description,
            "operationId": f"{method.service}.{method.name}{suffix}",
        }
        if parameters := [*self._path_parameters(method, binding), *self._query_parameters(method, binding)]:
            operation["parameters"] = parameters
        if body := self._request_body(method, binding):
            operation["requestBody"] = body
        operation["responses"] = {"200": self._success(method), **error_references()}
        return operation

    def _path_parameters(self, method: Method, binding: Binding) -> Iterator[Schema]:
        for path in _PATH_VARIABLE.findall(binding.path):
            message, field = self._resolve(method.request, path)
            yield self._parameter("path", path, message, field) | {"required": True}

    def _query_parameters(self, method: Method, binding: Binding) -> Iterator[Schema]:
        """Every field that is neither in the path nor in the body is a query parameter."""
        if binding.body == "*":
            return
        taken = {*_PATH_VARIABLE.findall(binding.path), binding.body}
        yield from self._leaves(method.request, "", taken, frozenset())

    def _leaves(self, message: str, prefix: str, taken: set[str], above: frozenset[str]) -> Iterator[Schema]:
        """Walks into nested messages: their fields are parameters with dotted names."""
        for field in self._contract.messages[message].field:
            path, inner = f"{prefix}{field.name}", field.type_name.lstrip(".")
            if path in taken:
                continue
            if field.type != FieldDescriptorProto.TYPE_MESSAGE or inner == "google.protobuf.Timestamp":
                yield self._parameter("query", path, message, field)
            elif field.label != FieldDescriptorProto.LABEL_REPEATED and inner not in above and inner.startswith("malla."):
                yield from self._leaves(inner, f"{path}.", taken, above | {message, inner})

    def _parameter(self, place: str, path: str, message: str, field: FieldDescriptorProto) -> Schema:
        schema = self._schemas.field(message, field)
        description = schema.pop("description", "")
        parameter: Schema = {"name": path, "in": place, "description": description}
        if place == "query" and is_required(field):
            parameter["required"] = True
        return parameter | {"schema": schema}

    def _resolve(self, message: str, path: str) -> tuple[str, FieldDescriptorProto]:
        """Follows a dotted field path; returns the message that declares the last field, and the field."""
        head, _, rest = path.partition(".")
        field = next(field for field in self._contract.messages[message].field if field.name == head)
        return self._resolve(field.type_name.lstrip("."), rest) if rest else (message, field)

    def _request_body(self, method: Method, binding: Binding) -> Schema | None:
        if not binding.body:
            return None
        if binding.body != "*":
            _, field = self._resolve(method.request, binding.body)
            return self._field_body(method.request, field)
        in_path = frozenset(_PATH_VARIABLE.findall(binding.path))
        message = self._schemas.message(method.request, in_path)
        if not message["properties"]:
            return None
        schema = message if in_path else self._schemas.reference(method.request)
        content = {"application/json": {"schema": schema, "example": request_example(message)}}
        return {"required": "required" in message, "content": content}

    def _field_body(self, message: str, field: FieldDescriptorProto) -> Schema:
        content: Schema
        if field.type_name == f".{HTTP_BODY}":
            content = {"application/octet-stream": {"schema": dict(BINARY)}}
        else:
            example = request_example(self._schemas.message(field.type_name.lstrip("."), frozenset()))
            content = {"application/json": {"schema": self._schemas.field(message, field), "example": example}}
        return {"description": self._contract.comments[f"{message}.{field.name}"], "required": True, "content": content}

    def _success(self, method: Method) -> Schema:
        schema = self._schemas.reference(method.response)
        description = self._contract.comments[method.response] or "What was asked for."
        if not method.streams_response:
            media_type = "application/octet-stream" if method.response == HTTP_BODY else "application/json"
            return {"description": description, "content": {media_type: {"schema": schema}}}
        note = "A stream: each `data:` line of an SSE stream, or each line of an NDJSON stream, is one object of this schema."
        return {"description": f"{description}\n\n{note}", "content": {name: {"schema": schema} for name in _STREAM_TYPES}}


def _summary(description: str) -> str:
    found = _SENTENCE.match(description)
    return (found.group() if found else description).rstrip(".;:")
