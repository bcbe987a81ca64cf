"""What the proxy's container is asked to do beside running: the script of the compose file, on the real proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.proxy import ProxyConfig
from common.settings import REPOSITORY
from tests.e2e import edge_backend
from tests.e2e.edge import bearer, free_ports, laptop, running

SCRIPT = REPOSITORY / "deploy" / "proxy.sh"


async def script(proxy: ProxyConfig, do: str, grace_s: int = 20) -> asyncio.subprocess.Process:
    environment = {"EDGE_PORT": str(proxy.edge.port), "ADMIN_PORT": str(proxy.admin.port), "GRACE_S": str(grace_s)}
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec("/bin/bash", str(SCRIPT), do, env=environment, stdout=quiet, stderr=quiet)


@asynccontextmanager
async def proxied(folder: Path, query: edge_backend.Query) -> AsyncIterator[ProxyConfig]:
    port, page = free_ports(2)
    ports = {"embedding": [port], "ingestion": [port], "query": [port], "gateway": [page]}
    proxy = laptop(folder, ports)
    pages = await asyncio.start_server(edge_backend.page, "127.0.0.1", page)
    async with pages, edge_backend.replica(port, query), running(proxy, lambda answer: answer.status_code == 200):
        yield proxy


@pytest.mark.parametrize("ends", [True, False])
async def test_draining_waits_for_calls_and_not_for_ever(tmp_path: Path, ends: bool) -> None:
    query = edge_backend.Query()
    async with proxied(tmp_path, query) as proxy, grpc.aio.insecure_channel(str(proxy.edge)) as channel:
        assert await (await script(proxy, "health")).wait() == 0
        asked = query_pb2.QueryRequest(collection_id="c", query="gated")
        stream = query_pb2_grpc.QueryServiceStub(channel).StreamQuery(asked, metadata=tuple(bearer().items()))
        events = aiter(stream)
        assert (await anext(events)).sequence == 1
        drain = await script(proxy, "drain", 20 if ends else 1)
        while True:  # until the edge takes no new connection
            try:
                _, writer = await asyncio.open_connection(proxy.edge.host, proxy.edge.port)
            except OSError:
                break
            writer.close()
            await asyncio.sleep(0.02)
        if ends:
            assert drain.returncode is None
            query.gate.set()
            assert [event.sequence async for event in events] == [2, 3]
        assert await drain.wait() == 0
        assert ends or not stream.done()
        stream.cancel()


async def test_a_proxy_that_is_away_is_not_healthy(tmp_path: Path) -> None:
    proxy = laptop(tmp_path, {name: [] for name in ("embedding", "ingestion", "query", "gateway")})
    assert await (await script(proxy, "health")).wait() != 0
    assert await (await script(proxy, "drain")).wait() != 0
    assert await (await script(proxy, "nonsense")).wait() == 2
