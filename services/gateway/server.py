"""Runs the application until SIGTERM."""

from __future__ import annotations

import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from common.garbage import keep_for_good
from common.server import MeshKey
from services.gateway.lingering import LingeringWebSocket
from services.gateway.mesh_tls import secured
from services.gateway.settings import GatewaySettings

_LOG = logging.getLogger(__name__)


Drain = Callable[[float], Awaitable[None]]
"""Ends what the application holds open, within the seconds given."""


def serve(app: ASGIApp, settings: GatewaySettings, drain: Drain) -> None:
    """Serves until SIGTERM or SIGINT, lets open requests and turns end within the grace time, then exits with status 0."""
    _exit_cleanly_on_signals()
    logging.getLogger("uvicorn.error").addFilter(_is_ours)
    with socket.create_server((settings.host, settings.port), backlog=2048, reuse_port=settings.reuse_port) as listener:
        host, port = listener.getsockname()[:2]
        _LOG.info("gateway listens", extra={"host": host, "port": port})
        MeshKey(settings.mesh_secret()).warn_if_open()
        keep_for_good()
        DrainingServer(server_config(app, settings), drain, settings.drain_grace_s).run(sockets=[listener])


def _is_ours(record: logging.LogRecord) -> bool:
    """Leaves out what uvicorn logs as an error of ours when a client was refused: anyone could fill the log with it."""
    return not str(record.msg).startswith(("ASGI callable returned without completing handshake", "Invalid UTF-8 sequence"))


class DrainingServer(uvicorn.Server):
    """Lets the application end its WebSockets first: uvicorn would close them in the middle of a turn."""

    def __init__(self, config: uvicorn.Config, drain: Drain, grace_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._grace_s = grace_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no new connections, then drains, then ends what is left."""
        for server in self.servers:
            server.close()
        until = time.monotonic() + self._grace_s
        await self._drain(self._grace_s)
        self.config.timeout_graceful_shutdown = max(1, math.ceil(until - time.monotonic()))
        await super().shutdown(sockets)


def server_config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    """Returns how uvicorn serves the application."""
    config = uvicorn.Config(
        app,
        log_config=None,  # the process has one log format, set before
        log_level=logging.WARNING,
        access_log=False,  # the edge logs every request
        server_header=False,
        ws=LingeringWebSocket,
        ws_max_size=settings.websocket_frame_bytes,
        ws_ping_interval=settings.websocket_ping_interval_s,
        ws_ping_timeout=settings.websocket_ping_timeout_s,
        ws_per_message_deflate=False,  # a delta is too short to gain, and each socket would hold two windows
    )
    tls = settings.mesh_tls()
    return config if tls is None else secured(config, tls)


def _exit_cleanly_on_signals() -> None:
    """Uvicorn drains on a signal and then raises it again for the handlers it found: these end the process as a success."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
