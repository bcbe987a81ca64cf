"""TLS behind the edge: the gateway takes connections of the proxy only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from common.mtls import PROXY, FollowedFiles, MeshTls

_LOG = logging.getLogger(__name__)
_OWN = "gateway"


def secured(config: uvicorn.Config, tls: MeshTls) -> uvicorn.Config:
    """Makes a configuration serve TLS to the proxy, and to itself, which is how its health is asked for."""
    files = FollowedFiles(tls)
    allowed = {tls.id_of(PROXY), tls.id_of(_OWN)}
    first = current = files.context(ssl.Purpose.CLIENT_AUTH)
    is_stale = False

    def show_newest(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal current, is_stale
        is_stale = is_stale or files.fresh() is not None
        if is_stale:
            with contextlib.suppress(OSError, ssl.SSLError):  # replaced again this very moment: the next connection sees it
                current, is_stale = files.context(ssl.Purpose.CLIENT_AUTH), False
        connection.context = current

    class MemberProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two, by what is installed
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if allowed.isdisjoint(_ids(transport)):
                _LOG.warning("a connection past the proxy was refused")
                transport.abort()

    first.sni_callback = show_newest
    config.http = MemberProtocol
    # What uvicorn would make of file names could not be replaced while it runs.
    config.ssl_context_factory = lambda _config, _default: first
    return config


def _ids(transport: asyncio.Transport) -> set[str]:
    shown: dict[str, Any] = transport.get_extra_info("peercert") or {}
    return {value for kind, value in shown.get("subjectAltName", ()) if kind == "URI"}
