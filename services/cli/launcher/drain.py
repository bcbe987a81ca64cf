"""Drains the proxy. Envoy cuts streams on SIGTERM; this lets them end first."""

from __future__ import annotations

import asyncio
import logging

import httpx

log = logging.getLogger("malla.launcher")

_POLL_S = 0.05


async def drain_proxy(admin_port: int, grace_s: float, replaced: bool) -> None:
    """Takes no new connections and returns when no call is left, or after the grace.

    Where no other proxy takes its place, the servers still reach each other: what they do for the last calls needs it.

    Envoy tells an HTTP/2 connection to go with the next answer that begins on it, and not before (envoy issue 14350): a client
    whose streams are all open begins one more on it when they end. Beside a proxy that serves, that one has its grace, too.

    Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin (healthcheck/fail, drain_listeners).
    """
    if replaced:
        grace_s *= 2
    admin = f"http://127.0.0.1:{admin_port}"
    try:
        async with httpx.AsyncClient(base_url=admin, trust_env=False, timeout=5) as http, asyncio.timeout(grace_s):
            await http.post("/healthcheck/fail")
            await http.post("/drain_listeners?graceful&skip_exit")  # tells each connection to end after its next answer
            # Closes listening sockets at once, for another proxy shares the ports; "inbound" is the edge.
            await http.post("/drain_listeners" if replaced else "/drain_listeners?inboundonly")
            while await _active(http, ("edge", "mesh") if replaced else ("edge",)):  # noqa: ASYNC110  # another process has no event for us
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        log.warning("calls still open after the grace", extra={"process_name": "proxy", "grace_s": grace_s})
    except httpx.HTTPError as error:
        log.warning("cannot be drained", extra={"process_name": "proxy", "reason": type(error).__name__})


async def _active(http: httpx.AsyncClient, listeners: tuple[str, ...]) -> int:
    counts = {f"http.{name}.downstream_rq_active" for name in listeners}
    response = await http.get("/stats", params={"filter": r"^http\.\w+\.downstream_rq_active$", "format": "json"})
    stats = response.json().get("stats", [])
    return sum(int(row["value"]) for row in stats if row.get("name") in counts)
