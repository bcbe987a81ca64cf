"""The gateway's routes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from services.gateway.assets import STATIC, SwaggerFiles
from services.gateway.errors import http_error, internal_error
from services.gateway.headers import SecurityHeaders

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(openapi: Mapping[str, Any], more: Sequence[BaseRoute] = (), lifespan: Lifespan | None = None) -> Starlette:
    """Returns the application that serves the pages, the given OpenAPI document and `more` routes, which live by `lifespan`."""
    return Starlette(
        routes=[*_routes(json.dumps(openapi, ensure_ascii=False).encode()), *more],
        lifespan=lifespan,
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={HTTPException: http_error, Exception: internal_error},
    )


def _routes(openapi: bytes) -> list[BaseRoute]:
    async def serve_openapi(_: Request) -> Response:
        return Response(openapi, media_type="application/json")

    return [
        _page("/", STATIC / "console.html"),
        _page("/docs", STATIC / "docs.html"),
        Route("/openapi.json", serve_openapi),
        Route("/healthz", _healthz),
        Mount("/static/swagger", SwaggerFiles()),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def _page(path: str, file: Path) -> Route:
    async def serve(_: Request) -> Response:
        return FileResponse(file)

    return Route(path, serve)


async def _healthz(_: Request) -> Response:
    return JSONResponse({"success": True, "message": "The gateway is up."})
