"""The gateway's own failures, in the one shape that every HTTP error of the mesh has."""

from __future__ import annotations

import math
import uuid
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from common.errors import Code, MallaError
from common.status import error_of

_KINDS = {
    HTTPStatus.NOT_FOUND: (
        "ROUTE_NOT_FOUND",
        Code.NOT_FOUND,
        "There is nothing at {method} {path}. See /docs for what there is.",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "METHOD_NOT_ALLOWED",
        Code.UNIMPLEMENTED,
        "{path} does not take {method}. See /docs for what it takes.",
    ),
}

_STATUSES = {
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


async def http_error(request: Request, error: Exception) -> JSONResponse:
    """Answers for a path or a method that is not served."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    kind, code, message = _KINDS.get(status, (status.name, Code.UNKNOWN, f"{error.detail}. See /docs."))
    path = request.url.path
    response = _response(
        request,
        status,
        message.format(method=request.method, path=path),
        {"type": kind, "code": code, "details": {"method": request.method, "path": path}},
    )
    response.headers.update(error.headers or {})
    return response


async def internal_error(request: Request, _error: Exception) -> JSONResponse:
    """Answers for a bug. The cause is in the log only: it may hold what a caller must not see."""
    message = "The gateway failed. Try again; if it stays, look for the request in the gateway's log."
    return _response(
        request, HTTPStatus.INTERNAL_SERVER_ERROR, message, {"type": "INTERNAL", "code": Code.INTERNAL, "details": {}}
    )


def refusal(connection: HTTPConnection, error: MallaError) -> JSONResponse:
    """Answers a call that is refused, with the HTTP status of the error's code."""
    status = _STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    response = _response(connection, status, error.message, error_of(error).model_dump())
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return response


def upgrade_required(request: Request) -> JSONResponse:
    """Answers a plain request for a WebSocket (RFC 9110, 15.5.22)."""
    message = (
        "This path is a WebSocket. Open it with one, or POST to /api/v1/groq/chat/stream for the same events as SSE. See /docs."
    )
    error = {"type": "UPGRADE_REQUIRED", "code": Code.FAILED_PRECONDITION, "details": {"upgrade": "websocket"}}
    response = _response(request, HTTPStatus.UPGRADE_REQUIRED, message, error)
    response.headers["upgrade"] = "websocket"
    return response


def _response(connection: HTTPConnection, status: HTTPStatus, message: str, error: dict[str, Any]) -> JSONResponse:
    request_id = connection.headers.get("x-request-id") or str(uuid.uuid4())
    body = {"success": False, "message": message, "error": error, "metadata": {"request_id": request_id}}
    return JSONResponse(body, status)
