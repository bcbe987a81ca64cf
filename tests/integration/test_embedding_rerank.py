"""Reranking by the embedding server, over real gRPC, with a model that the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.channel import open_channel
from tests.fakes.calls import metadata, refused
from tests.fakes.cross_encoder import FakeCrossEncoder
from tests.fakes.engine import FakeEngine
from tests.fakes.servers import embedding_server
from tests.fakes.waiting import until


class Client:
    """One tenant's calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.InternalEmbeddingServiceStub(channel)

    def rerank(self, query: str, *texts: str, timeout: float = 10):
        request = pb.InternalRerankRequest(query=query, texts=texts)
        return self._stub.InternalRerank(request, metadata=metadata("acme"), timeout=timeout)


@asynccontextmanager
async def served(model: FakeCrossEncoder | None, **settings: object) -> AsyncIterator[Client]:
    async with embedding_server(FakeEngine(), model, **settings) as address, open_channel(address) as channel:
        yield Client(channel)


@pytest.fixture
def model() -> FakeCrossEncoder:
    return FakeCrossEncoder()


@pytest.fixture
async def client(model: FakeCrossEncoder) -> AsyncIterator[Client]:
    async with served(model) as client:
        yield client


async def test_scores_come_in_the_texts_order(client: Client):
    response = await client.rerank("luz roja", "la luz", "la luz roja", "nada")
    assert response.success
    assert list(response.data.scores) == [0.5, 1.0, 0.0]
    assert (response.data.model, response.data.usage.provider, response.data.usage.total_tokens) == ("fake-pairs", "fake", 6)


async def test_without_a_model_it_says_how_to_get_one():
    async with served(None) as client:
        failure = await refused(client.rerank("luz", "la luz"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RERANKER_NOT_CONFIGURED")
    assert "MALLA_RERANK_MODEL" in failure.message


@pytest.mark.parametrize(
    ("query", "texts", "field"),
    [
        (" ", ["x"], "query"),
        ("", ["x"], "query"),
        ("x", [], "texts"),
        ("x", ["y", "\n"], "texts[1]"),
        ("x", ["y"] * 101, "texts"),
    ],
)
async def test_bad_input_names_the_field(client: Client, query: str, texts: list[str], field: str):
    failure = await refused(client.rerank(query, *texts))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.detail("BadRequest").field_violations[0].field == field


async def test_too_many_waiting_texts_are_refused_with_a_delay(model: FakeCrossEncoder):
    async with served(model, rerank_queue_texts=2) as client:
        model.hold()
        first = asyncio.ensure_future(client.rerank("luz", "a", "b"))
        await until(lambda: len(model.calls) == 1)
        failure = await refused(client.rerank("luz", "c"))
        model.release()
        assert (await first).success
        assert (await client.rerank("luz", "c")).success
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.detail("RetryInfo").retry_delay.ToMilliseconds() >= 100


async def test_a_call_whose_deadline_passes_in_the_queue_is_never_computed(model: FakeCrossEncoder, client: Client):
    model.hold()
    first = asyncio.ensure_future(client.rerank("luz", "a"))
    await until(lambda: len(model.calls) == 1)
    assert (await refused(client.rerank("luz", "b", timeout=0.2))).code is grpc.StatusCode.DEADLINE_EXCEEDED
    model.release()
    await first
    await client.rerank("luz", "c")
    assert model.calls == [["a"], ["c"]]


async def test_a_model_that_fails_says_nothing_of_its_insides(model: FakeCrossEncoder, client: Client):
    model.failure = RuntimeError("secret of the model")
    failure = await refused(client.rerank("luz", "a"))
    assert failure.code is grpc.StatusCode.INTERNAL
    assert "secret" not in failure.message
    model.failure = None
    assert (await client.rerank("luz", "a")).success
