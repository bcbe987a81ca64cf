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
    message: str
    details: Schema


_FAILURES = {
    "400": _Failure(
        "BadRequest",
        "The request breaks a rule, or asks for what cannot be done as things stand; `error.details` says which.",
        "INVALID_ARGUMENT",
        Code.INVALID_ARGUMENT,
        "The request is invalid: mensaje: value length must be at least 1 characters.",
        {"violations": [{"field": "mensaje", "description": "value length must be at least 1 characters"}]},
    ),
    "401": _Failure(
        "Unauthorized",
        "The token is missing, malformed, expired, revoked or not signed by this mesh.",
        "UNAUTHENTICATED",
        Code.UNAUTHENTICATED,
        "The token is missing or not valid. Send 'Authorization: Bearer <token>'; make one with `malla token create`.",
        {"reason": "Jwt is missing"},
    ),
    "403": _Failure(
        "Forbidden",
        "The token is good, but not for this: `error.details.required` names the scope it lacks.",
        "MISSING_SCOPE",
        Code.PERMISSION_DENIED,
        "The token lacks the scope 'chat'. Make one that has it with `malla token create --scope`.",
        {"required": "chat", "granted": ["read"]},
    ),
    "404": _Failure(
        "NotFound",
        "The tenant has no such resource, or there is no such path.",
        "AGENT_NOT_FOUND",
        Code.NOT_FOUND,
        "There is no agent '7'. GET /api/v1/agents lists them; POST /api/v1/agents creates one.",
        {"resource_type": "agent", "resource_id": "7"},
    ),
    "408": _Failure(
        "RequestTimeout",
        "The request did not arrive in time.",
        "REQUEST_TIMEOUT",
        Code.DEADLINE_EXCEEDED,
        "The request did not arrive in time. Send it again, without pauses.",
        {},
    ),
    "409": _Failure(
        "Conflict",
        "The identifier is taken, or another change came first.",
        "COLLECTION_ALREADY_EXISTS",
        Code.ALREADY_EXISTS,
        "The collection 'nopal-fibra' already exists. Use it, or choose another identifier.",
        {"resource_type": "collection", "resource_id": "nopal-fibra"},
    ),
    "413": _Failure(
        "ContentTooLarge",
        "The body is larger than the route takes: 4 MiB of JSON or a file of 64 MiB, unless configured otherwise.",
        "BODY_BYTES_EXCEEDED",
        Code.INVALID_ARGUMENT,
        "The body is larger than 4,194,304 bytes. Send less at once; files go to the ':upload' path.",
        {"limit": "body_bytes", "allowed": 4194304},
    ),
    "426": _Failure(
        "UpgradeRequired",
        "The path is a WebSocket.",
        "UPGRADE_REQUIRED",
        Code.FAILED_PRECONDITION,
        "This path is a WebSocket. Open it with one, or POST to /api/v1/groq/chat/stream for the same events as SSE. "
        "See /docs.",
        {"upgrade": "websocket"},
    ),
    "429": _Failure(
        "TooManyRequests",
        "A rate limit, a budget or a full queue; try again after `Retry-After` seconds.",
        "RATE_LIMIT_EXCEEDED",
        Code.RESOURCE_EXHAUSTED,
        "The tenant's rate limit is reached. Wait as many seconds as the retry-after header says.",
        {},
    ),
    "431": _Failure(
        "HeadersTooLarge",
        "The request headers are larger than 32 KiB.",
        "HEADERS_TOO_LARGE",
        Code.INVALID_ARGUMENT,
        "The request headers are too large. Send fewer or shorter ones.",
        {},
    ),
    "500": _Failure(
        "InternalError",
        "A bug; the server's log has it under the request id.",
        "INTERNAL",
        Code.INTERNAL,
        "Something failed inside. The server's log has it under request id 5f0c2f6e-3c1f-4a7e-9f5e-0a4b8c1d2e3f.",
        {},
    ),
    "502": _Failure(
        "BadGateway",
        "A server gave no proper answer.",
        "UNAVAILABLE",
        Code.UNAVAILABLE,
        "The server gave no proper answer. Try again shortly; `malla status` shows what is down.",
        {},
    ),
    "503": _Failure(
        "ServiceUnavailable",
        "A part of the mesh cannot be reached; try again shortly.",
        "DEPENDENCY_UNAVAILABLE",
        Code.UNAVAILABLE,
        "The server cannot be reached. Try again shortly; `malla status` shows what is down.",
        {"dependency": "query"},
    ),
    "504": _Failure(
        "GatewayTimeout",
        "The deadline passed before the work was done.",
        "DEADLINE_EXCEEDED",
        Code.DEADLINE_EXCEEDED,
        "The deadline passed before the call was done. Call again with a longer deadline.",
        {},
    ),
}
_HEADERS: Schema = {
    "RequestId": {
        "description": "Identifies the call in every log, trace and error: the caller's own `X-Request-Id`, or a new one.",
        "schema": {"type": "string"},
    },
    "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    # draft-polli-ratelimit-headers-03
    "RateLimit": {"description": "Requests the tenant's tier may make a minute.", "schema": {"type": "string"}},
    "RateLimitRemaining": {"description": "Requests left until the reset.", "schema": {"type": "integer", "minimum": 0}},
    "RateLimitReset": {
        "description": "Seconds until all of them are there again.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_RATE_LIMIT = {
    "X-RateLimit-Limit": "RateLimit",
    "X-RateLimit-Remaining": "RateLimitRemaining",
    "X-RateLimit-Reset": "RateLimitReset",
}
_RETRIED = ("429", "503")
_BEFORE_THE_LIMIT = ("400", "401", "403", "408", "431")
_ALWAYS_THERE = ["success", "message", "error", "metadata"]


def header_components() -> Schema:
    """Returns the headers that answers share, by name."""
    return dict(_HEADERS)


def answer_headers(*, limited: bool = True) -> Schema:
    """Returns the headers of an answer; those of the rate limit where a token is needed."""
    names = {"X-Request-Id": "RequestId"} | (_RATE_LIMIT if limited else {})
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}


def failures(statuses: dict[str, str]) -> Schema:
    """Returns the failures of an operation by status, each with what is said of it there."""
    return {status: _reference(status, said) for status, said in statuses.items()}


def error_responses(schemas: Schemas) -> Schema:
    """Returns the shared responses, by name."""
    schema = schemas.reference(ERROR_RESPONSE)
    return {failure.name: _response(status, failure, schema) for status, failure in _FAILURES.items()}


def complete_error_schema(components: dict[str, Schema]) -> None:
    """Adds what the proto cannot say: `success` is false, and every part is always there."""
    schema = components["ErrorResponse"]
    schema["properties"]["success"]["const"] = False
    schema["required"] = _ALWAYS_THERE
    components["Error"]["required"] = ["type", "code", "details"]


def _reference(status: str, said: str) -> Schema:
    failure = _FAILURES[status]
    reference = {"$ref": f"#/components/responses/{failure.name}"}
    return reference | {"description": f"{failure.description} Here: {said}."} if said else reference


def _response(status: str, failure: _Failure, schema: Schema) -> Schema:
    example = {
        "success": False,
        "message": failure.message,
        "error": {"type": failure.type, "code": failure.code.value, "details": failure.details},
        "metadata": {"request_id": "5f0c2f6e-3c1f-4a7e-9f5e-0a4b8c1d2e3f"},
    }
    headers = answer_headers(limited=status not in _BEFORE_THE_LIMIT)
    if status in _RETRIED:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": failure.description,
        "headers": headers,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
