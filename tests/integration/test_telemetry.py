"""Traces and metrics of servers in this process, sent to a collector by OTLP over gRPC."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common import telemetry
from common.channel import open_channel
from common.context import Context, Tier, use_context
from common.llm import LlmRouter
from common.llm.errors import LlmError
from common.logs import JsonFormatter
from common.store import Store, open_store
from tests.fakes.calls import metadata
from tests.fakes.engine import FakeEngine
from tests.fakes.llm_upstream import Act, ask, running_upstream, told
from tests.fakes.llm_upstream import settings_for as llm_settings
from tests.fakes.otlp import Collector, only, path_to, running_collector, settings_for, tree
from tests.fakes.servers import embedding_server
from tests.fakes.waiting import until

METHOD = "malla.embedding.v1.InternalEmbeddingService/InternalEmbed"
SECRET = "contraseña-hunter2"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as one:
        yield one


@asynccontextmanager
async def observed(collector: Collector, **settings: Any) -> AsyncIterator[None]:
    """Observes this process; the end flushes, which must not stop the loop the collector runs in."""
    block = telemetry.running("test", settings_for(collector, **settings))
    block.__enter__()
    try:
        yield
    finally:
        await asyncio.to_thread(block.__exit__, None, None, None)


@asynccontextmanager
async def embedding(engine: FakeEngine | None = None, **changes: Any) -> AsyncIterator[rpc.InternalEmbeddingServiceStub]:
    async with embedding_server(engine or FakeEngine(), **changes) as address, open_channel(address) as channel:
        yield rpc.InternalEmbeddingServiceStub(channel)


def embed(stub: Any, *texts: str, timeout: float = 20, **more: str) -> Any:
    request = pb.InternalEmbedRequest(texts=texts, priority=pb.InternalEmbedRequest.INTERACTIVE)
    return stub.InternalEmbed(request, metadata=metadata(request_id="r1", **more), timeout=timeout)


async def test_a_call_is_a_client_span_a_server_span_and_its_place_in_queue_and_batch(collector: Collector) -> None:
    async with observed(collector), embedding() as stub:
        with telemetry.span("root"):
            await embed(stub, "uno dos", SECRET)
        root = only(await until(lambda: [s for s in collector.spans if s.name == "root"]), "root")
        names = ["root", METHOD, "embedding queue", "embedding batch"]
        spans = await collector.whole_trace(root.trace_id, names)
    batch = only(spans, "embedding batch")
    client, server = f"malla-test: {METHOD} (client)", f"malla-test: {METHOD} (server)"
    assert path_to(spans, batch) == ["malla-test: root (internal)", client, server, "malla-test: embedding batch (internal)"]
    assert path_to(spans, only(spans, "embedding queue"))[-2] == server
    assert batch.facts["malla.batch.texts"] == 2
    assert batch.facts["malla.batch.tokens"] == 3
    assert batch.facts["malla.lane"] == "interactive"
    called = next(span for span in spans if span.kind == "server")
    assert called.facts["rpc.system.name"] == "grpc"
    assert called.facts["rpc.response.status_code"] == "OK"
    assert called.facts["malla.request_id"] == "r1"
    assert 0 < called.facts["malla.deadline_ms"] <= 20_000
    assert SECRET not in collector.texts()


async def test_facts_of_a_call_land_on_its_server_span_and_not_on_the_work_inside(collector: Collector) -> None:
    async with observed(collector), embedding(FakeEngine(window_tokens=2)) as stub:
        await embed(stub, "uno dos tres")
        spans = await until(lambda: [s for s in collector.spans if s.kind == "server"])
    assert spans[0].facts["malla.truncated"] == "[0]"


async def test_a_failed_call_says_its_status_and_no_message(collector: Collector) -> None:
    async with observed(collector), embedding() as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.InternalEmbed(pb.InternalEmbedRequest(texts=["a"], model=SECRET), metadata=metadata(), timeout=20)
        spans = await until(lambda: s if len(s := collector.spans) >= 2 else None)
    by_kind = {span.kind: span for span in spans}
    assert by_kind["server"].facts["rpc.response.status_code"] == "NOT_FOUND"
    assert not by_kind["server"].failed, "the caller asked for what is not there; the server did its work"
    assert by_kind["client"].facts["rpc.response.status_code"] == "NOT_FOUND"
    assert by_kind["client"].failed
    assert SECRET not in collector.texts()


async def test_a_text_past_its_deadline_is_dropped_and_seen_to_be(collector: Collector) -> None:
    engine = FakeEngine()
    async with observed(collector), embedding(engine) as stub:
        engine.hold()
        first = asyncio.ensure_future(embed(stub, "primero"))
        await engine.begun(1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await embed(stub, "tarde", timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        engine.release()
        await first
        spans = await until(lambda: [s for s in collector.spans if s.facts.get("malla.dropped")])
        dropped = await until(lambda: collector.points("malla.embedding.dropped_texts"))
        late = await until(lambda: [s for s in collector.trace(spans[0].trace_id) if s.name == METHOD and s.kind == "server"])
    assert engine.computed == ["primero"]
    assert spans[0].name == "embedding queue"
    assert [point.as_int for point in dropped] == [1]
    assert late[0].facts["rpc.response.status_code"] == "DEADLINE_EXCEEDED"


async def test_metrics_of_calls_queues_and_batches_name_no_tenant(collector: Collector) -> None:
    async with observed(collector), embedding() as stub:
        await embed(stub, "uno dos")
        calls = await until(lambda: collector.points("rpc.server.call.duration"))
        batches = await until(lambda: collector.points("malla.embedding.batch.texts"))
        waits = await until(lambda: collector.points("malla.embedding.queue.texts"))
    labels = {pair.key: pair.value.string_value for pair in calls[0].attributes}
    assert labels == {"rpc.system.name": "grpc", "rpc.method": METHOD, "rpc.response.status_code": "OK"}
    assert calls[0].count == 1
    assert batches[0].sum == 1
    lanes = [pair.value.string_value for point in waits for pair in point.attributes if pair.key == "malla.lane"]
    assert sorted(lanes) == ["bulk", "interactive"]
    assert not [request for request in collector.metric_requests if "acme" in str(request)]


async def test_tenants_are_named_up_to_a_bound_where_that_is_asked_for(collector: Collector) -> None:
    async with observed(collector, metrics_tenants=2), embedding() as stub:
        for tenant in ("a", "b", "c", "d", "a"):
            await embed(stub, "uno", tenant=tenant)

        def counted() -> dict[str, int]:
            points = collector.points("rpc.server.call.duration")
            named = {p.value.string_value: point.count for point in points for p in point.attributes if p.key == "malla.tenant"}
            return named if sum(named.values()) == 5 else {}

        assert await until(counted) == {"a": 2, "b": 1, "other": 2}


async def test_commands_of_the_record_are_spans_of_the_call_without_their_contents(
    collector: Collector, store_settings: Any
) -> None:
    async with observed(collector), open_store(store_settings) as store:
        await _polled(store)
        with telemetry.span("root"):
            await store.rows("acme", "agents").insert({"_id": "1", "name": SECRET})
            assert await store.rows("acme", "agents").find_one({"name": SECRET})
        await until(lambda: {"root", "find agents"} <= {span.name for span in collector.spans})
        spans = collector.spans
    assert {span.name for span in spans} == {"root", "insert agents", "find agents"}, "polling without a caller is no span"
    root, find = only(spans, "root"), only(spans, "find agents")
    assert find.parent_id == root.id
    assert find.kind == "client"
    assert find.facts["db.system.name"] == "mongodb"
    assert find.facts["db.collection.name"] == "agents"
    assert find.facts["db.namespace"] == store_settings.mongodb_database
    assert SECRET not in collector.texts()


async def _polled(store: Store) -> None:
    await store.all_tenants("jobs").count({})


async def test_models_that_callers_make_up_are_one_label(collector: Collector) -> None:
    async with observed(collector), running_upstream() as upstream, LlmRouter(llm_settings(upstream)) as router:
        for number in range(5):
            upstream.then(Act(status=404))
            with pytest.raises(LlmError):
                await told(router.stream(ask(model=f"made-up-{number}")))
        points = await until(lambda: collector.points("gen_ai.client.operation.duration"))
        await until(lambda: {p.count for p in collector.points("gen_ai.client.operation.duration")} == {5})
    labels = {p.value.string_value for point in points for p in point.attributes if p.key == "gen_ai.request.model"}
    assert labels == {"other"}


async def test_a_generation_is_a_span_with_usage_and_time_to_first_token(collector: Collector) -> None:
    async with (
        observed(collector, metrics_tenants=1),
        running_upstream() as upstream,
        LlmRouter(llm_settings(upstream)) as router,
    ):
        with telemetry.span("root"), use_context(Context(tenant_id="acme", tier=Tier.PRO)):
            await told(router.stream(ask()))
        spans = await until(lambda: s if len(s := collector.spans) == 2 else None)
        tokens = await until(lambda: collector.points("gen_ai.client.token.usage"))
        first = await until(lambda: collector.points("gen_ai.server.time_to_first_token"))
    span = only(spans, "chat llama-3.1-8b-instant")
    assert span.parent_id == only(spans, "root").id
    assert span.kind == "client"
    facts = span.facts
    assert facts["gen_ai.operation.name"] == "chat"
    assert facts["gen_ai.provider.name"] == "groq"
    assert facts["gen_ai.request.model"] == facts["gen_ai.response.model"] == "llama-3.1-8b-instant"
    assert facts["gen_ai.response.finish_reasons"] == ["stop"]
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (11, 3)
    assert 0 < facts["gen_ai.response.time_to_first_chunk"] < 20
    assert [event.name for event in span.proto.events] == ["gen_ai.first_token"]
    by_type = {p.value.string_value: point.sum for point in tokens for p in point.attributes if p.key == "gen_ai.token.type"}
    assert by_type == {"input": 11, "output": 3}
    assert first[0].count == 1
    assert "mundo" not in collector.texts()
    assert "Qué tal" not in collector.texts()
    assert upstream.chats[0].headers.get("traceparent") is None, "somebody else's server is told nothing of our traces"


async def test_each_try_at_a_model_is_a_span_and_a_failed_one_says_why(collector: Collector) -> None:
    async with (
        observed(collector),
        running_upstream() as upstream,
        LlmRouter(llm_settings(upstream, llm_retries=1)) as router,
    ):
        upstream.then(
            Act(status=503, body={"error": {"message": SECRET}}), Act(status=401, body={"error": {"message": SECRET}})
        )
        with pytest.raises(LlmError):
            await told(router.stream(ask()))
        spans = await until(lambda: s if len(s := collector.spans) == 2 else None)
    assert [span.failed for span in spans] == [True, True]
    assert spans[-1].facts["error.type"] == "LLM_KEY_REJECTED"
    assert SECRET not in collector.texts()


async def test_a_reader_that_leaves_ends_the_generations_span(collector: Collector) -> None:
    async with observed(collector), running_upstream() as upstream, LlmRouter(llm_settings(upstream)) as router:
        upstream.then(Act(hang="next"))
        stream = router.stream(ask())
        await anext(stream)
        await stream.aclose()
        spans = await until(lambda: collector.spans)
    assert spans[0].facts["malla.cancelled"] is True
    assert not spans[0].failed


async def test_a_log_line_within_a_span_names_it(collector: Collector) -> None:
    record = logging.LogRecord("malla", logging.INFO, __file__, 1, "hola", None, None)
    async with observed(collector):
        with telemetry.span("root"):
            inside = json.loads(JsonFormatter().format(record))
            ids = telemetry.trace_ids()
        outside = json.loads(JsonFormatter().format(record))
    assert (inside["trace_id"], inside["span_id"]) == ids
    assert "trace_id" not in outside


async def test_off_there_is_no_exporter_no_interceptor_and_no_header() -> None:
    before = set(threading.enumerate())
    seen: list[tuple[str, str | bytes]] = []
    with telemetry.running("test", settings_for("")):
        assert telemetry.active() is None
        assert not [thread for thread in set(threading.enumerate()) - before if "Otel" in thread.name]
        async with _echoing(seen) as address, open_channel(address) as channel:
            assert type(channel) is type(grpc.aio.insecure_channel(address))
            await channel.unary_unary("/any/Method")(b"", metadata=(("x-tenant-id", "acme"),))
        with telemetry.span("nothing") as own:
            own.set("a", 1)
            assert telemetry.trace_ids() is None
    assert "traceparent" not in dict(seen)
    assert telemetry.span("one") is telemetry.span("other"), "not even an object"


async def test_on_a_call_carries_its_span_to_the_server(collector: Collector) -> None:
    seen: list[tuple[str, str | bytes]] = []
    async with observed(collector), _echoing(seen) as address, open_channel(address) as channel:
        await channel.unary_unary("/any/Method")(b"", metadata=(("x-tenant-id", "acme"),))
        span = (await until(lambda: collector.spans))[0]
    sent = dict(seen)
    assert sent["x-tenant-id"] == "acme"
    assert str(sent["traceparent"]).startswith(f"00-{span.trace_id}-{span.id}-")


@asynccontextmanager
async def _echoing(seen: list[tuple[str, str | bytes]]) -> AsyncIterator[str]:
    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            seen.extend(details.invocation_metadata)
            return grpc.unary_unary_rpc_method_handler(_nothing)

    async def _nothing(request: bytes, context: Any) -> bytes:
        return b""

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_a_collector_that_is_away_fails_no_call_and_keeps_no_process(free_port: int) -> None:
    async with ends_in_time(f"http://127.0.0.1:{free_port}"), embedding() as stub:
        answers = await asyncio.gather(*(embed(stub, "uno dos") for _ in range(50)))
    assert all(answer.data.dimensions for answer in answers)


async def test_a_collector_that_hangs_keeps_no_process_either() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with ends_in_time(f"http://127.0.0.1:{silent.getsockname()[1]}"), embedding() as stub:
            answer = await embed(stub, "uno dos")
    assert answer.data.dimensions


@asynccontextmanager
async def ends_in_time(endpoint: str) -> AsyncIterator[None]:
    """Observes; fails where the end is not bounded by us: the exporter by itself would try for ten seconds."""
    block = telemetry.running("test", settings_for(endpoint))
    block.__enter__()
    try:
        yield
    finally:
        async with asyncio.timeout(telemetry.SHUTDOWN_S + 5):
            await asyncio.to_thread(block.__exit__, None, None, None)


def test_the_tree_is_told_as_text() -> None:
    assert tree([]) == ""
