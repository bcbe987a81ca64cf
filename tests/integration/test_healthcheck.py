"""The health check of a container, run as the container runs it, against real servers with and without TLS."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from common.certs import Authority
from common.mtls import MeshTls
from common.server import serving
from common.settings import ServerSettings
from services.gateway.settings import GatewaySettings
from tests.e2e.edge import free_ports
from tests.e2e.members import gateway_of, member_tls, services_of, tls_settings


async def status_of(member: str, port: int, tls: MeshTls | None = None) -> int:
    names = {} if tls is None else {"CERT": tls.cert, "KEY": tls.key, "CA": tls.ca}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MALLA_")},
        **{f"MALLA_TLS_{name}": str(path) for name, path in names.items()},
        "MALLA_TRUST_DOMAIN": "malla.local" if tls is None else tls.trust_domain,
        "MALLA_PORT": str(port),
    }
    command = (sys.executable, "-m", "common.healthcheck", member)
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    authority = Authority.init(tmp_path / "ca", "malla.test")
    authority.issue("query", tmp_path / "query")
    return tmp_path


async def test_a_server_that_serves_is_healthy_to_its_own_certificate(certs: Path) -> None:
    settings = ServerSettings(_env_file=None, drain_grace_s=0, **tls_settings(certs, "query"))
    async with serving(settings, services_of("query")) as address:
        port = int(address.rpartition(":")[2])
        assert await status_of("query", port, member_tls(certs, "query")) == 0
        assert await status_of("query", port) == 1


async def test_a_server_without_tls_is_healthy() -> None:
    async with serving(ServerSettings(_env_file=None, drain_grace_s=0), services_of("query")) as address:
        assert await status_of("query", int(address.rpartition(":")[2])) == 0


async def test_a_gateway_without_tls_is_healthy() -> None:
    async with gateway_of(GatewaySettings(_env_file=None, mesh_address="127.0.0.1:1")) as address:
        assert await status_of("gateway", int(address.rpartition(":")[2])) == 0


async def test_where_nothing_listens_nobody_is_healthy() -> None:
    assert await status_of("gateway", free_ports(1)[0]) == 1
