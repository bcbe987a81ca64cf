"""Puts the OpenAPI document together."""

from __future__ import annotations

from importlib.metadata import version

from services.gateway.openapi.contract import Contract
from services.gateway.openapi.errors import (
    answer_headers,
    complete_error_schema,
    error_responses,
    failures,
    header_components,
)
from services.gateway.openapi.examples import Examples
from services.gateway.openapi.operations import Operations
from services.gateway.openapi.parameters import header_parameters, shared_parameters
from services.gateway.openapi.rules import Schema
from services.gateway.openapi.schemas import Schemas
from services.gateway.openapi.statuses import open_statuses
from services.gateway.openapi.websocket import websocket_path

_PUBLIC = "/api/v1/"
_HEALTH_TAG = "Health"
_DESCRIPTION = (
    "Answers questions from an organisation's own documents, with citations.\n\n"
    "Every call needs `Authorization: Bearer <token>`; `malla token create` makes one. The token names the tenant, and a call "
    "sees that tenant's data only; it names scopes too, and each operation says which one it needs.\n\n"
    "Every failure has one shape, `ErrorResponse`. 64-bit integers are strings, as in all Protobuf JSON; token counts are "
    "numbers. Unknown fields of a body are ignored, unknown query parameters are refused. A call has 30 seconds unless its "
    "`Grpc-Timeout` header says otherwise: digits and a unit, `5S`. The same methods are served as gRPC."
)
_SCOPE = "malla.common.v1.Scope"
_OPEN_ROUTES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "/healthz": ("Health.Live", "Says whether the process is up.", ()),
    "/readyz": ("Health.Ready", "Says whether calls can be served now.", ("503",)),
}


def build_document(descriptors: bytes) -> Schema:
    """Returns the OpenAPI 3.1 document of the public API.

    Args:
        descriptors: A serialised FileDescriptorSet with imports and source info.
    """
    contract = Contract(descriptors)
    schemas = Schemas(contract)
    paths = _paths(contract, schemas, Examples(descriptors))
    responses = error_responses(schemas)
    components = schemas.components()
    complete_error_schema(components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Malla", "version": version("malla"), "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"bearerAuth": []}],
        "tags": _tags(contract, paths),
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": responses,
            "headers": header_components(),
            "parameters": header_parameters(),
            "securitySchemes": {"bearerAuth": _security_scheme(contract)},
        },
    }


def _paths(contract: Contract, schemas: Schemas, examples: Examples) -> Schema:
    operations = Operations(contract, schemas, examples)
    paths: Schema = {}
    for method in contract.methods:
        for number, binding in enumerate(method.bindings, start=1):
            if binding.path.startswith(_PUBLIC):
                paths.setdefault(binding.path, {})[binding.verb] = operations.operation(method, binding, number)
    path, handshake = websocket_path(contract, schemas, examples)
    paths[path] = handshake
    for path, (identifier, summary, more) in _OPEN_ROUTES.items():
        paths[path] = {"get": _open_operation(identifier, summary, more)}
    return paths


def _security_scheme(contract: Contract) -> Schema:
    """OpenAPI lets a bearer scheme name scopes where they are needed; what they are for, only its description can say."""
    values = contract.enums[_SCOPE].value[1:]
    comments = {value.name.removeprefix("SCOPE_").lower(): contract.comments[f"{_SCOPE}.{value.name}"] for value in values}
    lines = [f"- `{name}`: {comment}" for name, comment in comments.items() if name != "mesh"]
    description = "\n".join(["A token of `malla token create`. Its scopes say what it is good for:", "", *lines])
    return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description}


def _open_operation(identifier: str, summary: str, more: tuple[str, ...]) -> Schema:
    schema = {
        "type": "object",
        "properties": {"success": {"type": "boolean"}, "message": {"type": "string"}},
        "required": ["success", "message"],
    }
    content = {"application/json": {"schema": schema, "example": {"success": True, "message": summary}}}
    return {
        "tags": [_HEALTH_TAG],
        "summary": summary.rstrip("."),
        "description": f"{summary} Needs no token.",
        "operationId": identifier,
        "security": [],
        "parameters": shared_parameters(),
        "responses": {
            "200": {"description": "Yes.", "headers": answer_headers(limited=False), "content": content},
            **failures(open_statuses(*more)),
        },
    }


def _tags(contract: Contract, paths: Schema) -> list[Schema]:
    used = {tag for item in paths.values() for operation in item.values() for tag in operation["tags"]}
    described = {name: text for name, text in contract.services.items() if name in used}
    return [{"name": name, "description": text} for name, text in (described | {_HEALTH_TAG: "Open routes."}).items()]
