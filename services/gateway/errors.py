"""The gateway's own failures, in the one shape that every HTTP error of the mesh has."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from common.errors import Code

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


def _response(request: Request, status: HTTPStatus, message: str, error: dict[str, Any]) -> JSONResponse:
    request_id = request.headers.get("x-request-id") or str(uuid.uuid4())
    body = {"success": False, "message": message, "error": error, "metadata": {"request_id": request_id}}
    return JSONResponse(body, status)
