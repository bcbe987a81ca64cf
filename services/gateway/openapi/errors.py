"""The responses of calls that fail: the one error shape under every status the edge answers with."""

from __future__ import annotations

from typing import NamedTuple

from common.errors import Code
from services.gateway.openapi.rules import Schema
from services.gateway.openapi.schemas import Schemas

ERROR_RESPONSE = "malla.common.v1.ErrorResponse"


class _Failure(NamedTuple):
    name: str
    description: str
    type: str
    code: Code


_FAILURES = {
    "400": _Failure(
        "BadRequest",
        "The request breaks a rule; `error.details` names the fields or the limit.",
        "INVALID_ARGUMENT",
        Code.INVALID_ARGUMENT,
    ),
    "401": _Failure(
        "Unauthorized",
        "The token is missing, malformed, expired, revoked or not signed by this mesh.",
        "UNAUTHENTICATED",
        Code.UNAUTHENTICATED,
    ),
    "403": _Failure(
        "Forbidden",
        "The token is good, but not for this: `error.details.required` names the scope it lacks.",
        "MISSING_SCOPE",
        Code.PERMISSION_DENIED,
    ),
    "404": _Failure(
        "NotFound", "The tenant has no such resource, or there is no such path.", "COLLECTION_NOT_FOUND", Code.NOT_FOUND
    ),
    "409": _Failure(
        "Conflict", "The identifier is taken, or another change came first.", "COLLECTION_ALREADY_EXISTS", Code.ALREADY_EXISTS
    ),
    "413": _Failure(
        "ContentTooLarge", "The body is larger than the route takes.", "UPLOAD_BYTES_EXCEEDED", Code.INVALID_ARGUMENT
    ),
    "429": _Failure(
        "TooManyRequests",
        "A rate limit, a quota or a full queue; try again after `Retry-After` seconds.",
        "OVERLOADED",
        Code.RESOURCE_EXHAUSTED,
    ),
    "503": _Failure(
        "ServiceUnavailable",
        "A part of the mesh cannot be reached; try again shortly.",
        "DEPENDENCY_UNAVAILABLE",
        Code.UNAVAILABLE,
    ),
    "504": _Failure(
        "GatewayTimeout", "The deadline passed before the work was done.", "DEADLINE_EXCEEDED", Code.DEADLINE_EXCEEDED
    ),
    "default": _Failure("Failure", "Any other failure, in the same shape.", "INTERNAL", Code.INTERNAL),
}
_RETRY_AFTER: Schema = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
# draft-polli-ratelimit-headers-03; on every answer of a path that needs a token.
_RATE_LIMIT: Schema = {
    "X-RateLimit-Limit": {"description": "Requests the tenant's tier may make a minute.", "schema": {"type": "string"}},
    "X-RateLimit-Remaining": {"description": "Requests left until the reset.", "schema": {"type": "integer", "minimum": 0}},
    "X-RateLimit-Reset": {
        "description": "Seconds until all of them are there again.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_ALWAYS_THERE = ["success", "message", "error", "metadata"]


def error_references() -> Schema:
    """Returns the failures of an operation, by status."""
    return {status: {"$ref": f"#/components/responses/{failure.name}"} for status, failure in _FAILURES.items()}


def error_responses(schemas: Schemas) -> Schema:
    """Returns the shared responses, by name."""
    schema = schemas.reference(ERROR_RESPONSE)
    responses = {failure.name: _response(failure, schema) for failure in _FAILURES.values()}
    responses["TooManyRequests"]["headers"] = {"Retry-After": _RETRY_AFTER, **_RATE_LIMIT}
    return responses


def complete_error_schema(components: dict[str, Schema]) -> None:
    """Adds what the proto cannot say: `success` is false, and every part is always there."""
    schema = components["ErrorResponse"]
    schema["properties"]["success"]["const"] = False
    schema["required"] = _ALWAYS_THERE


def _response(failure: _Failure, schema: Schema) -> Schema:
    example = {
        "success": False,
        "message": "One sentence: what is wrong and what to do.",
        "error": {"type": failure.type, "code": failure.code.value, "details": {}},
        "metadata": {"request_id": "5f0c2f6e-3c1f-4a7e-9f5e-0a4b8c1d2e3f"},
    }
    return {"description": failure.description, "content": {"application/json": {"schema": schema, "example": example}}}
