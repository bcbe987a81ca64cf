"""The embedding server over real gRPC, with an engine that the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.channel import open_channel
from common.server import serving
from services.embedding.bootstrap import compose
from services.embedding.settings import EmbeddingSettings
from tests.fakes.accounting import MemoryAccounting
from tests.fakes.calls import Failure, metadata, refused
from tests.fakes.engine import FakeEngine, vector_of
from tests.fakes.servers import embedding_server
from tests.fakes.waiting import until

PUBLIC, INTERNAL = "malla.embedding.v1.EmbeddingService", "malla.embedding.v1.InternalEmbeddingService"


class Client:
    """Both services of one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._public = rpc.EmbeddingServiceStub(channel)
        self._internal = rpc.InternalEmbeddingServiceStub(channel)

    def embed(self, *texts: str, tenant: str = "acme", timeout: float | None = 10, **fields: object):
        return self._public.Embed(pb.EmbedRequest(texts=texts, **fields), metadata=metadata(tenant), timeout=timeout)

    def internal(self, *texts: str, tenant: str = "acme", timeout: float | None = 10, **fields: object):
        request = pb.InternalEmbedRequest(texts=texts, **fields)
        return self._internal.InternalEmbed(request, metadata=metadata(tenant), timeout=timeout)


@asynccontextmanager
async def served(engine: FakeEngine, **settings: object) -> AsyncIterator[Client]:
    async with embedding_server(engine, **settings) as address, open_channel(address) as channel:
        yield Client(channel)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[Client]:
    async with served(engine) as client:
        yield client


async def test_embed_answers_numbers_usage_and_metadata(client: Client):
    call = client.embed("one two", "three", kind=pb.EmbedRequest.QUERY)
    response = await call
    assert response.success
    assert response.message == "2 texts embedded"
    assert response.dimensions == 64
    assert response.model == "fake-words"
    np.testing.assert_allclose(response.embeddings[0].values, vector_of("one two", 64), rtol=1e-6)
    assert (response.usage.input_tokens, response.usage.total_tokens, response.usage.provider) == (3, 3, "fake")
    assert response.metadata["request_id"].string_value


async def test_packed_vectors_are_the_numbers_of_embed(client: Client):
    texts = ["one two", "three", "four five six"]
    numbers = await client.embed(*texts)
    packed = await client.internal(*texts, tenant="globex")  # for whom nothing is remembered
    assert packed.success
    assert not packed.HasField("error")
    rows = np.frombuffer(packed.data.vectors, "<f4").reshape(3, packed.data.dimensions)
    np.testing.assert_array_equal(rows, np.array([e.values for e in numbers.embeddings], dtype=np.float32))
    assert packed.data.usage == numbers.usage


async def test_a_cut_text_is_reported():
    async with served(FakeEngine(window_tokens=2)) as client:
        public, internal = await client.embed("a b c", "d"), await client.internal("x", "a b c")
    assert [v.number_value for v in public.metadata["truncated"].list_value.values] == [0]
    assert list(internal.data.truncated) == [1]


async def test_the_caller_finds_its_request_id_again(client: Client):
    stub = rpc.EmbeddingServiceStub(client.channel)
    call = stub.Embed(pb.EmbedRequest(texts=["x"]), metadata=metadata(request_id="req-7"))
    assert (await call).metadata["request_id"].string_value == "req-7"


BAD = {
    "no text": ({}, (), "texts", "at least 1"),
    "an empty text": ({}, ("ok", ""), "texts[1]", "at least 1 character"),
    "a blank text": ({}, ("ok", " \n\t"), "texts[1]", "must hold more than white space"),
    "an oversized text": ({}, ("ok", "ok", "x" * 20_001), "texts[2]", "at most 20000 characters"),
    "an oversized batch": ({}, ("x",) * 257, "texts", "no more than 256"),
    "an unknown kind": ({"kind": 9}, ("x",), "kind", "defined"),
}


@pytest.mark.parametrize("call", ["embed", "internal"])
@pytest.mark.parametrize(("fields", "texts", "field", "rule"), BAD.values(), ids=BAD.keys())
async def test_bad_input_names_the_field_and_the_rule(client: Client, engine: FakeEngine, call, fields, texts, field, rule):
    failure = await refused(getattr(client, call)(*texts, **fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    [violation] = failure.detail("BadRequest").field_violations
    assert violation.field == field
    assert rule in violation.description
    assert field in failure.message
    assert rule in failure.message
    assert_error_body(failure)
    assert engine.computed == []


def assert_error_body(failure: Failure) -> None:
    assert failure.body.success is False
    assert failure.body.HasField("success")
    assert failure.body.message == failure.message
    assert failure.body.error.type == failure.reason
    assert failure.body.error.code == failure.code.name
    assert failure.body.metadata["request_id"].string_value


async def test_the_largest_allowed_call_is_served(client: Client):
    response = await client.internal(*["x"] * 255, "y" * 20_000)
    assert len(response.data.vectors) == 256 * 64 * 4


async def test_an_unknown_model_is_not_found_and_the_served_one_is_named(client: Client):
    failure = await refused(client.embed("x", model="gpt-9"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert "'gpt-9'" in failure.message
    assert "'fake-words'" in failure.message
    assert_error_body(failure)
    assert (await client.embed("x", model="fake-words")).success


async def test_two_models_are_served_side_by_side():
    first, second = FakeEngine(dimensions=8), FakeEngine(dimensions=12, model="other-words")
    async with embedding_server(first, others=[second]) as address, open_channel(address) as channel:
        client = Client(channel)
        first.hold()
        waiting = asyncio.ensure_future(client.internal("uno"))
        await first.begun(1)
        other = await client.internal("dos", model="other-words")  # does not wait for the first model's queue
        first.release()
        own = await waiting
        failure = await refused(client.embed("x", model="third"))
    assert (own.data.model, own.data.dimensions) == ("fake-words", 8)
    assert (other.data.model, other.data.dimensions, other.data.usage.model) == ("other-words", 12, "other-words")
    assert second.computed == ["dos"]
    assert failure.reason == "MODEL_NOT_FOUND"
    assert "'fake-words', 'other-words'" in failure.message


@pytest.mark.parametrize("call", ["embed", "internal"])
async def test_a_call_without_a_tenant_is_unauthenticated(client: Client, call):
    failure = await refused(getattr(client, call)("x", tenant=""))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert "token" in failure.message
    assert_error_body(failure)


async def test_a_deadline_too_short_fails_and_computes_nothing(client: Client, engine: FakeEngine):
    engine.hold()
    first = asyncio.ensure_future(client.embed("first"))
    await engine.begun(1)
    failure = await refused(client.embed("late", timeout=0.2))
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    engine.release()
    await first
    await client.embed("marker")
    assert engine.computed == ["first", "marker"]


async def test_texts_of_a_caller_that_left_are_not_computed(client: Client, engine: FakeEngine, caplog):
    caplog.set_level("INFO", "malla.rpc")
    engine.hold()
    first = asyncio.ensure_future(client.embed("first"))
    await engine.begun(1)
    leaving = asyncio.ensure_future(client.internal("leaving"))
    staying = asyncio.ensure_future(client.internal("staying"))
    await asyncio.wait({leaving}, timeout=0.1)
    leaving.cancel()
    await until(lambda: [r for r in caplog.records if getattr(r, "code", "") == "CANCELLED"])
    engine.release()
    await asyncio.gather(first, staying)
    assert "leaving" not in engine.computed


@pytest.mark.parametrize("call", ["embed", "internal"])
async def test_overload_is_refused_with_a_delay(call):
    engine = FakeEngine()
    async with served(engine, embedding_queue_tokens=3) as client:
        engine.hold()
        first = asyncio.ensure_future(client.internal("first"))
        await engine.begun(1)
        # Whichever comes first fills the queue; the other is refused while it waits.
        calls = [asyncio.ensure_future(getattr(client, call)("a b c")) for _ in range(2)]
        [refusal], [waiting] = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        failure = await refused(refusal)
        engine.release()
        await asyncio.gather(first, waiting)
    assert engine.computed == ["first", "a b c"]
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    delay_ms = failure.detail("RetryInfo").retry_delay.ToMilliseconds()
    assert delay_ms >= 100
    assert failure.detail("Overloaded").retry_after_ms == delay_ms
    assert "Try again" in failure.message
    assert_error_body(failure)


async def test_a_broken_engine_is_told_as_internal_without_its_words(client: Client, engine: FakeEngine):
    engine.failure = RuntimeError("password=hunter2 of the model hub")
    failure = await refused(client.embed("x"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in str(failure)
    assert failure.body.metadata["request_id"].string_value in failure.message
    assert (await client.embed("y")).success


@pytest.mark.parametrize("service", ["", PUBLIC, INTERNAL])
async def test_each_service_is_healthy(client: Client, service):
    stub = health_pb2_grpc.HealthStub(client.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(client: Client):
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    listed = {service.name async for answer in call for service in answer.list_services_response.service}
    assert {PUBLIC, INTERNAL, "grpc.health.v1.Health"} <= listed


async def test_draining_ends_calls_in_flight_and_refuses_new_ones(engine: FakeEngine):
    settings = EmbeddingSettings(_env_file=None, port=0, drain_grace_s=10)
    async with compose(settings, engine, accounts=MemoryAccounting()) as services:
        server = serving(settings, services)
        async with open_channel(await server.__aenter__()) as channel:
            client = Client(channel)
            engine.hold()
            in_flight = asyncio.ensure_future(client.embed("in flight"))
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=PUBLIC))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            await engine.begun(1)
            draining = asyncio.ensure_future(server.__aexit__(None, None, None))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            failure = await refused(client.embed("new", timeout=2))
            assert not draining.done()
            engine.release()
            assert (await in_flight).success
            await draining
    assert failure.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert engine.computed == ["in flight"]
