"""The mesh listener, and what callers notice of replicas that die and return."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc

from tests.e2e import edge_backend
from tests.e2e.edge import WAIT_S, Edge, answers, assert_shape, bearer, free_ports, laptop, running


async def test_mesh_reaches_internal_services_over_json_and_grpc(edge: Edge) -> None:
    async with httpx.AsyncClient(base_url=edge.mesh) as inside:
        headers = {"x-tenant-id": "acme", "x-request-id": "inside-1"}
        response = await inside.post("/internal/embed", json={"texts": ["a"]}, headers=headers)
        assert response.json()["metadata"]["x-tenant-id"] == "acme"
        assert response.headers["x-request-id"] == "inside-1"
        failed = await inside.post("/internal/embed", json={"texts": ["fail:not_found"]}, headers=headers)
        assert failed.status_code == 404
        assert assert_shape(failed)["error"]["type"] == "COLLECTION_NOT_FOUND"
        assert assert_shape(await inside.get("/internal/nothing"))["error"]["type"] == "ROUTE_NOT_FOUND"
    async with grpc.aio.insecure_channel(str(edge.proxy.mesh)) as inside:
        answer = await internal_embed(inside)
        assert answer.message == "internal"
        assert "grpc-timeout" not in answer.metadata


async def internal_embed(channel: grpc.aio.Channel) -> embedding_pb2.InternalEmbeddingResponse:
    stub = embedding_pb2_grpc.InternalEmbeddingServiceStub(channel)
    request = embedding_pb2.InternalEmbedRequest(texts=["a"])
    answer: embedding_pb2.InternalEmbeddingResponse = await stub.InternalEmbed(
        request, metadata=(("x-tenant-id", "acme"),), timeout=WAIT_S
    )
    return answer


@asynccontextmanager
async def replica_process(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replica that can be killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, edge_backend.__file__, str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_replicas_die_and_return(tmp_path: Path) -> None:
    """Two replicas, one killed under load: no call fails. None left: calls fail at once. One back: calls succeed soon."""
    first, second, nothing = free_ports(3)
    ports = {"embedding": [first, second], "ingestion": [first, second], "query": [first, second], "gateway": [nothing]}
    proxy = laptop(tmp_path, ports)

    async with contextlib.AsyncExitStack() as running_ones:
        victim = await running_ones.enter_async_context(replica_process(first))
        survivor = await running_ones.enter_async_context(replica_process(second))
        await running_ones.enter_async_context(running(proxy, lambda answer: answer.status_code == 200))
        inside = await running_ones.enter_async_context(grpc.aio.insecure_channel(str(proxy.mesh)))
        http = await running_ones.enter_async_context(httpx.AsyncClient(base_url=f"http://{proxy.edge}", headers=bearer()))

        async def calls(stop: asyncio.Event) -> int:
            done = 0
            while not stop.is_set():
                assert (await internal_embed(inside)).success
                done += 1
            return done

        stop = asyncio.Event()
        load = [asyncio.create_task(calls(stop)) for _ in range(8)]
        await asyncio.gather(*(internal_embed(inside) for _ in range(20)))
        victim.kill()
        await victim.wait()
        await asyncio.gather(*(internal_embed(inside) for _ in range(200)))
        stop.set()
        assert sum(await asyncio.gather(*load)) > 0

        survivor.kill()
        await survivor.wait()
        down = await answers(f"http://{proxy.edge}/readyz", lambda answer: answer.status_code == 503)
        assert assert_shape(down)["error"]["type"] == "NOT_READY"
        started = time.monotonic()
        refused = await http.post("/api/v1/embeddings", json={})
        assert refused.status_code == 503
        body = assert_shape(refused)
        assert (body["error"]["type"], body["error"]["code"]) == ("DEPENDENCY_UNAVAILABLE", "UNAVAILABLE")
        assert body["error"]["details"] == {"dependency": "embedding"}
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await internal_embed(inside)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - started < 1.0
        page = await http.get("/docs")
        assert assert_shape(page)["error"]["details"] == {"dependency": "gateway"}

        await running_ones.enter_async_context(replica_process(second))
        returned = time.monotonic()
        await answers(f"http://{proxy.edge}/readyz", lambda answer: answer.status_code == 200)
        assert time.monotonic() - returned < 3.0
        assert (await internal_embed(inside)).success
