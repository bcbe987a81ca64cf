"""A deadline travels with the call through every hop: through the real Envoy to the embedding queue and to the model."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from malla.query.v1 import query_pb2, query_pb2_grpc

from common import telemetry
from common.proxy import UPSTREAMS
from common.server import serving
from common.settings import StoreSettings
from common.store import CollectionRecord, now_ms, open_store
from services.query.bootstrap import compose
from services.query.settings import QuerySettings
from tests.e2e.edge import assert_shape, bearer, free_ports, laptop, running
from tests.fakes.calls import metadata
from tests.fakes.engine import FakeEngine
from tests.fakes.llm_upstream import Act, Upstream, running_upstream
from tests.fakes.llm_upstream import settings_for as llm_settings
from tests.fakes.otlp import Collector, Span, running_collector, settings_for
from tests.fakes.servers import embedding_server
from tests.fakes.waiting import until

EMBED = "malla.embedding.v1.InternalEmbeddingService/InternalEmbed"
STREAM = "malla.query.v1.QueryService/StreamQuery"
DEFAULT_S = 1
"""What the proxy under test gives to JSON callers that bring no deadline, and the most it gives to anyone."""


@dataclass
class Bench:
    """Envoy, the query and the embedding server, the record and a model, watched by a collector."""

    channel: grpc.aio.Channel
    http: httpx.AsyncClient
    engine: FakeEngine
    upstream: Upstream
    collector: Collector
    embedding: str
    since_ns: int = 0

    @property
    def query(self) -> query_pb2_grpc.QueryServiceStub:
        return query_pb2_grpc.QueryServiceStub(self.channel)

    @property
    def spans(self) -> list[Span]:
        """The spans of this test."""
        return [span for span in self.collector.spans if span.proto.start_time_unix_nano >= self.since_ns]

    async def served(self, name: str, count: int) -> list[Span]:
        """Waits for so many server spans of a method; returns them by their beginning."""

        def found() -> list[Span]:
            spans = [span for span in self.spans if span.name == name and span.kind == "server"]
            return sorted(spans, key=lambda span: span.proto.start_time_unix_nano) if len(spans) >= count else []

        return list(await until(found))

    async def late(self) -> dict[str, Any]:
        """Waits for both calls of the embedding server to be over; returns what is known of the later one."""
        return (await self.served(EMBED, 2))[1].facts

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Keeps the engine busy with another caller's text while the block runs, until the block's call is over there, too."""
        self.engine.hold()
        async with grpc.aio.insecure_channel(self.embedding) as channel:
            stub = embedding_pb2_grpc.InternalEmbeddingServiceStub(channel)
            request = embedding_pb2.InternalEmbedRequest(texts=["primera"])
            first = asyncio.ensure_future(stub.InternalEmbed(request, metadata=metadata(), timeout=60))
            await self.engine.begun(1)
            try:
                yield
                await self.served(EMBED, 1)
            finally:
                self.engine.release()
                await first


def identity() -> tuple[tuple[str, str], ...]:
    return tuple(bearer().items())


def search(text: str) -> query_pb2.SearchRequest:
    return query_pb2.SearchRequest(collection_id="manual", query=text, mode=query_pb2.SearchRequest.DENSE)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running_bench(mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One for all tests of this file."""
    folder = tmp_path_factory.mktemp("deadlines")
    record = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": f"test_{uuid.uuid4().hex}"}
    manual = CollectionRecord(_id="u1", tenant_id="acme", collection_id="manual", language="es", created_at=now_ms())
    async with open_store(StoreSettings(_env_file=None, **record)) as store:
        await store.rows("acme", "collections").insert(manual.model_dump(by_alias=True))
    engine = FakeEngine()
    (port,) = free_ports(1)
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(running_collector())
        await stack.enter_async_context(_watched(collector))
        upstream = await stack.enter_async_context(running_upstream())
        embedding = await stack.enter_async_context(embedding_server(engine))
        ports = {name: [port] for name in UPSTREAMS} | {"embedding": [int(embedding.rpartition(":")[2])]}
        limits = {"default_deadline_s": DEFAULT_S, "max_deadline_s": DEFAULT_S}
        proxy = laptop(folder, ports).model_copy(update=limits)
        settings = QuerySettings(
            _env_file=None, port=port, drain_grace_s=1, mesh_address=str(proxy.mesh), data_dir=folder, **record
        )
        services = await stack.enter_async_context(compose(settings, llm_settings(upstream)))
        await stack.enter_async_context(serving(settings, services))
        await stack.enter_async_context(running(proxy, lambda answer: answer.status_code == 200))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(str(proxy.edge)))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{proxy.edge}", headers=bearer(), timeout=20))
        yield Bench(channel, http, engine, upstream, collector, embedding)


@asynccontextmanager
async def _watched(collector: Collector) -> AsyncIterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        watching = telemetry.running("test", settings_for(collector, OTEL_METRICS_EXPORTER="none"))
        watching.__enter__()
    try:
        yield
    finally:
        await asyncio.to_thread(watching.__exit__, None, None, None)


@pytest.fixture
def bench(running_bench: Bench) -> Bench:
    """As new: what tests before this one left is forgotten."""
    running_bench.engine.batches.clear()
    running_bench.upstream.seen.clear()
    running_bench.upstream.default = Act()
    return replace(running_bench, since_ns=time.time_ns())


async def test_a_grpc_callers_deadline_reaches_the_embedding_queue(bench: Bench) -> None:
    async with bench.busy():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bench.query.Search(search("tardía"), metadata=identity(), timeout=0.6)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0 < (await bench.late())["malla.deadline_ms"] <= 600
    assert bench.engine.computed == ["primera"], "what nobody waits for any more is never computed"
    await until(lambda: [span for span in bench.spans if span.facts.get("malla.dropped")])


async def test_a_json_caller_without_a_deadline_gets_one_that_reaches_the_embedding_queue(bench: Bench) -> None:
    async with bench.busy():
        answer = await bench.http.post("/api/v1/search", json={"collection_id": "manual", "query": "tardía", "mode": "DENSE"})
    assert answer.status_code == 504
    assert assert_shape(answer)["error"]["code"] == "DEADLINE_EXCEEDED"
    assert 0 < (await bench.late())["malla.deadline_ms"] <= DEFAULT_S * 1000
    assert bench.engine.computed == ["primera"]


async def test_a_json_stream_lasts_no_longer_than_any_whatever_its_caller_names(bench: Bench) -> None:
    body = {"collection_id": "manual", "query": "tardía", "mode": "DENSE"}
    async with bench.busy():
        answer = await bench.http.post("/api/v1/query/stream", json=body, headers={"grpc-timeout": "99999999H"})
    assert answer.status_code == 504
    assert assert_shape(answer)["error"]["code"] == "DEADLINE_EXCEEDED"


async def test_a_json_caller_may_bring_a_shorter_one(bench: Bench) -> None:
    body = {"collection_id": "manual", "query": "tardía", "mode": "DENSE"}
    async with bench.busy():
        answer = await bench.http.post("/api/v1/search", json=body, headers={"grpc-timeout": "400m"})
    assert answer.status_code == 504
    assert_shape(answer)
    assert 0 < (await bench.late())["malla.deadline_ms"] <= 400


@pytest.mark.parametrize("hang", ["headers", "first", "next"])
async def test_a_grpc_callers_deadline_closes_the_model_and_is_told(bench: Bench, hang: str) -> None:
    bench.upstream.default = Act(hang=hang)
    request = query_pb2.QueryRequest(collection_id="manual", query="¿Cuánto tarda?")
    call = bench.query.StreamQuery(request, metadata=identity(), timeout=0.8)
    events = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for event in call:
            events.append(event)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert events[-1].error.code == "DEADLINE_EXCEEDED", "the stream says why it ends"
    await until(lambda: bench.upstream.chats[-1].left_at)
    assert len(bench.upstream.chats) == 1, "no time is left to ask again"


async def test_a_json_stream_without_a_deadline_ends_by_its_default_with_an_error_event(bench: Bench) -> None:
    bench.upstream.default = Act(hang="next")
    body = {"collection_id": "manual", "query": "¿Cuánto tarda?"}
    async with bench.http.stream("POST", "/api/v1/query/stream", json=body) as answer:
        events = [json.loads(line.removeprefix("data: ")) async for line in answer.aiter_lines() if line.strip()]
    assert {"retrieval", "delta", "error"} == {name for event in events for name in event if name != "sequence"}
    assert events[-1]["error"]["code"] == "DEADLINE_EXCEEDED"
    await until(lambda: bench.upstream.chats[-1].left_at)
    spans = await bench.served(STREAM, 1)
    assert 0 < spans[0].facts["malla.deadline_ms"] <= DEFAULT_S * 1000


async def test_a_whole_answer_over_json_ends_by_its_default_and_closes_the_model(bench: Bench) -> None:
    bench.upstream.default = Act(hang="next")
    body: dict[str, Any] = {"collection_id": "manual", "query": "¿Cuánto tarda?"}
    answer = await bench.http.post("/api/v1/query", json=body)
    assert answer.status_code == 504
    assert assert_shape(answer)["error"]["code"] == "DEADLINE_EXCEEDED"
    await until(lambda: bench.upstream.chats[-1].left_at)
