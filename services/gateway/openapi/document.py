"""Puts the OpenAPI document together."""

from __future__ import annotations

from importlib.metadata import version

from services.gateway.openapi.contract import Contract
from services.gateway.openapi.errors import complete_error_schema, error_references, error_responses
from services.gateway.openapi.operations import Operations
from services.gateway.openapi.rules import Schema
from services.gateway.openapi.schemas import Schemas

_PUBLIC = "/api/v1/"
_HEALTH_TAG = "Health"
_DESCRIPTION = (
    "Answers questions from an organisation's own documents, with citations.\n\n"
    "Every call needs `Authorization: Bearer <token>`; `malla token create` makes one. The token names the tenant, and a call "
    "sees that tenant's data only. Every failure has one shape, `ErrorResponse`. 64-bit integers are strings, as in all "
    "Protobuf JSON. The same methods are served as gRPC."
)
_OPEN_ROUTES = {
    "/healthz": ("Health.Live", "Says whether the process is up."),
    "/readyz": ("Health.Ready", "Says whether calls can be served now."),
}


def build_document(descriptors: bytes) -> Schema:
    """Returns the OpenAPI 3.1 document of the public API.

    Args:
        descriptors: A serialised FileDescriptorSet with imports and source info.
    """
    contract = Contract(descriptors)
    schemas = Schemas(contract)
    paths = _paths(contract, Operations(contract, schemas))
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
            "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _paths(contract: Contract, operations: Operations) -> Schema:
    paths: Schema = {}
    for method in contract.methods:
        for number, binding in enumerate(method.bindings, start=1):
            if binding.path.startswith(_PUBLIC):
                paths.setdefault(binding.path, {})[binding.verb] = operations.operation(method, binding, number)
    for path, (identifier, summary) in _OPEN_ROUTES.items():
        paths[path] = {"get": _open_operation(identifier, summary)}
    return paths


def _open_operation(identifier: str, summary: str) -> Schema:
    schema = {"type": "object", "properties": {"success": {"type": "boolean"}, "message": {"type": "string"}}}
    return {
        "tags": [_HEALTH_TAG],
        "summary": summary.rstrip("."),
        "description": f"{summary} Needs no token.",
        "operationId": identifier,
        "security": [],
        "responses": {
            "200": {"description": "Yes.", "content": {"application/json": {"schema": schema}}},
            **{status: error_references()[status] for status in ("503", "default")},
        },
    }


def _tags(contract: Contract, paths: Schema) -> list[Schema]:
    used = {tag for item in paths.values() for operation in item.values() for tag in operation["tags"]}
    described = {name: text for name, text in contract.services.items() if name in used}
    return [{"name": name, "description": text} for name, text in (described | {_HEALTH_TAG: "Open routes."}).items()]
