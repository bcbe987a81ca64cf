"""Starts a gRPC server: interceptors, health per service, reflection, limits, keepalive, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from common.channel import KEEPALIVE_OPTIONS
from common.garbage import keep_for_good
from common.server._audit import AuditSettings, AuditTrail
from common.server._interceptors import CallInterceptor
from common.server._mesh_key import MeshKey
from common.server._mesh_tls import MeshPeer, server_credentials
from common.server._token import Revocations
from common.settings import ServerSettings
from common.tasks import stop
from common.telemetry import running

log = logging.getLogger("malla.server")

# A channel pings every 30 s; allow twice that rate, or a client's pings are answered with too_many_pings.
_SERVER_OPTIONS = (
    *KEEPALIVE_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 15_000),
)


# For calls that were cancelled; the launcher kills a server five seconds after its grace.
_TIDY_S = 3.0


def _no_more() -> None:
    return None


@dataclass(frozen=True)
class GrpcService:
    """One service of a server: its full name and how it is added.

    Attributes:
        name: Full Protobuf name, for health and reflection.
        servicer: The object with the RPC methods.
        add: The generated `add_<Service>Servicer_to_server`.
        on_drain: Told when the server begins to drain: to end the calls that would not end within the grace time.
    """

    name: str
    servicer: Any
    add: Callable[[Any, Any], None]
    on_drain: Callable[[], None] = _no_more


Composition = Callable[[], AbstractAsyncContextManager[Sequence[GrpcService]]]


def run_server(name: str, settings: ServerSettings, compose: Composition) -> None:
    """Runs a server until SIGTERM or SIGINT, then drains it.

    Args:
        name: For the log.
        settings: Where to listen and within what limits.
        compose: Opens the server's adapters and yields its services; closed after the last call has ended.
    """
    with running(name), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(name, settings, compose))


async def _run(name: str, settings: ServerSettings, compose: Composition) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with compose() as services, serving(settings, services) as address:
        log.info("serving", extra={"server": name, "address": address})
        MeshKey(settings.mesh_secret()).warn_if_open()
        keep_for_good()
        await stop.wait()
        log.info("draining", extra={"server": name, "grace_s": settings.drain_grace_s})


@asynccontextmanager
async def serving(settings: ServerSettings, services: Sequence[GrpcService]) -> AsyncIterator[str]:
    """Serves until the block ends, then drains. Yields the address, "host:port".

    While draining, health is NOT_SERVING, new calls are refused, and calls in flight have `drain_grace_s` to end. Those that
    have not ended are cancelled, and have a few seconds more to count and store what they did.
    """
    audit = AuditTrail(AuditSettings(), _server_name(services))
    revocations = Revocations(settings.revoked_tokens)
    calls = CallInterceptor(MeshKey(settings.mesh_secret()), audit, MeshPeer(settings.mesh_tls()), revocations)
    server = grpc.aio.server(
        interceptors=(calls,),
        options=(*_SERVER_OPTIONS, ("grpc.so_reuseport", int(settings.reuse_port)), *_size_options(settings.max_message_bytes)),
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for service in services:
        service.add(service.servicer, server)
        await checks.set(service.name, health_pb2.HealthCheckResponse.SERVING)
    names = [service.name for service in services]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = _add_port(server, settings)
    await server.start()
    following = asyncio.create_task(revocations.follow(), name="revocations")
    try:
        yield f"{settings.host}:{port}"
    finally:
        await checks.enter_graceful_shutdown()
        for service in services:
            service.on_drain()
        await server.stop(settings.drain_grace_s)
        if not await calls.ended(_TIDY_S):
            log.warning("calls still tidy up after the grace")
        await stop([following])


def _add_port(server: grpc.aio.Server, settings: ServerSettings) -> int:
    address, tls = f"{settings.host}:{settings.port}", settings.mesh_tls()
    return server.add_insecure_port(address) if tls is None else server.add_secure_port(address, server_credentials(tls))


def _server_name(services: Sequence[GrpcService]) -> str:
    """Returns which server it is: the area of its first service."""
    return services[0].name.split(".")[1] if services else "server"


def _size_options(most: int) -> tuple[tuple[str, int], ...]:
    return (("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", most))
