"""Makes the parameters of an operation: what the path holds, what the query may hold, and the headers of every call."""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from services.gateway.openapi.contract import Binding, Contract, Method
from services.gateway.openapi.examples import parameter_example
from services.gateway.openapi.rules import Schema, is_required
from services.gateway.openapi.schemas import Schemas

_PATH_VARIABLE = re.compile(r"\{([^}]+)\}")
_IN_ONE_VALUE = frozenset({"google.protobuf.Timestamp", "google.protobuf.FieldMask", "google.protobuf.Duration"})
_REQUEST_ID: Schema = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Identifies the call in logs, traces and errors, and comes back; a new one is made where none is sent.",
    "schema": {"type": "string", "maxLength": 128, "pattern": "^[!-~]*$"},
}


def header_parameters() -> Schema:
    """Returns the parameters that every operation has, by name."""
    return {"RequestId": _REQUEST_ID}


def shared_parameters() -> list[Schema]:
    """Returns references to the parameters that every operation has."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in header_parameters()]


def path_variables(path: str) -> list[str]:
    """Names the variables of a path."""
    return _PATH_VARIABLE.findall(path)


class Parameters:
    """Makes the parameters of a method, by the mapping of google.api.http (AIP-127)."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas

    def of(self, method: Method, binding: Binding) -> list[Schema]:
        """Returns the parameters of one binding."""
        in_path = path_variables(binding.path)
        return [*(self.in_path(method.request, name) for name in in_path), *self._query(method, binding), *shared_parameters()]

    def in_path(self, message: str, path: str) -> Schema:
        """Returns the parameter of a variable of the path, which names a field of the message."""
        owner, field = self._resolve(message, path)
        example = parameter_example(path)
        return self._parameter("path", path, owner, field) | {"required": True} | ({"example": example} if example else {})

    def _query(self, method: Method, binding: Binding) -> Iterator[Schema]:
        """Every field that is neither in the path nor in the body is a query parameter."""
        if binding.body == "*":
            return
        taken = {*path_variables(binding.path), binding.body}
        yield from self._leaves(method.request, "", taken, frozenset())

    def _leaves(self, message: str, prefix: str, taken: set[str], above: frozenset[str]) -> Iterator[Schema]:
        """Walks into nested messages: their fields are parameters with dotted names."""
        for field in self._contract.messages[message].field:
            path, inner = f"{prefix}{field.name}", field.type_name.lstrip(".")
            if path in taken:
                continue
            if field.type != FieldDescriptorProto.TYPE_MESSAGE or inner in _IN_ONE_VALUE:
                yield self._parameter("query", path, message, field)
            elif field.label != FieldDescriptorProto.LABEL_REPEATED and inner not in above and inner.startswith("malla."):
                yield from self._leaves(inner, f"{path}.", taken, above | {message, inner})

    def _parameter(self, place: str, path: str, message: str, field: FieldDescriptorProto) -> Schema:
        schema = self._schemas.field(message, field, sent=True)
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
