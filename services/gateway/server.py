"""Runs the application until SIGTERM."""

from __future__ import annotations

import logging
import math
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from services.gateway.settings import GatewaySettings

_LOG = logging.getLogger(__name__)


def serve(app: ASGIApp, settings: GatewaySettings) -> None:
    """Serves until SIGTERM or SIGINT, lets open requests end within the grace time, then exits with status 0."""
    _exit_cleanly_on_signals()
    with socket.create_server((settings.host, settings.port), backlog=2048) as listener:
        host, port = listener.getsockname()[:2]
        _LOG.info("gateway listens", extra={"host": host, "port": port})
        uvicorn.Server(_config(app, settings)).run(sockets=[listener])


def _config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,  # the process has one log format, set before
        log_level=logging.WARNING,
        access_log=False,  # the edge logs every request
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.drain_grace_s),
    )


def _exit_cleanly_on_signals() -> None:
    """Uvicorn drains on a signal and then raises it again for the handlers it found: these end the process as a success."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
