"""What the embedding server remembers, over real gRPC: for whom, of which model, and how it is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.channel import open_channel
from tests.fakes.calls import metadata, refused
from tests.fakes.engine import FakeEngine, vector_of
from tests.fakes.servers import embedding_server


class Client:
    def __init__(self, stub: rpc.InternalEmbeddingServiceStub) -> None:
        self._stub = stub

    def __call__(self, *texts: str, tenant: str = "acme", **fields: object):
        request = pb.InternalEmbedRequest(texts=texts, **fields)
        return self._stub.InternalEmbed(request, metadata=metadata(tenant), timeout=10)


@asynccontextmanager
async def served(engine: FakeEngine, *, cache_mb: int = 1, **others: Sequence[FakeEngine]) -> AsyncIterator[Client]:
    async with embedding_server(engine, embedding_cache_mb=cache_mb, **others) as address, open_channel(address) as channel:
        yield Client(rpc.InternalEmbeddingServiceStub(channel))


def rows(answer: pb.InternalEmbeddingResponse) -> np.ndarray:
    return np.frombuffer(answer.data.vectors, "<f4").reshape(-1, answer.data.dimensions)


async def test_a_text_is_computed_once_and_counted_each_time():
    engine = FakeEngine()
    async with served(engine) as embed:
        first, second = await embed("uno dos"), await embed("uno dos")
    assert engine.computed == ["uno dos"]
    assert first.data.vectors == second.data.vectors
    assert (first.data.usage.total_tokens, first.data.usage.cached_tokens) == (2, 0)
    assert (second.data.usage.input_tokens, second.data.usage.total_tokens, second.data.usage.cached_tokens) == (2, 2, 2)


async def test_only_what_is_missing_is_computed_and_the_order_stays():
    engine = FakeEngine(window_tokens=2)
    texts = ["uno", "dos tres cuatro", "cinco seis", "siete ocho nueve"]
    async with served(engine) as embed:
        await embed(*texts[1:3])
        answer = await embed(*texts)
    assert engine.computed[2:] == ["uno", "siete ocho nueve"]
    np.testing.assert_array_equal(rows(answer), np.stack([vector_of(text, 64) for text in texts]))
    assert list(answer.data.truncated) == [1, 3]
    assert (answer.data.usage.total_tokens, answer.data.usage.cached_tokens) == (7, 4)


@pytest.mark.parametrize(
    "other", [{"tenant": "globex"}, {"kind": pb.EmbedRequest.QUERY}, {"model": "other-words"}], ids=["tenant", "kind", "model"]
)
async def test_another_tenant_kind_or_model_is_computed_anew(other: dict[str, object]):
    engine, second = FakeEngine(), FakeEngine(model="other-words", dimensions=8)
    async with served(engine, others=[second]) as embed:
        await embed("uno", kind=pb.EmbedRequest.PASSAGE)
        answer = await embed("uno", **{"kind": pb.EmbedRequest.PASSAGE, **other})
    assert [*engine.computed, *second.computed] == ["uno", "uno"]
    assert answer.data.usage.cached_tokens == 0


async def test_what_is_remembered_waits_for_nothing():
    engine = FakeEngine()
    async with served(engine) as embed:
        known = await embed("uno")
        engine.hold()
        waiting = embed("dos")
        await engine.begun(2)
        assert (await embed("uno")).data.vectors == known.data.vectors
        engine.release()
        await waiting


async def test_a_failure_is_not_remembered():
    engine = FakeEngine()
    engine.failure = RuntimeError("once")
    async with served(engine) as embed:
        await refused(embed("uno"))
        answer = await embed("uno")
    assert engine.computed == ["uno", "uno"]
    assert answer.data.usage.cached_tokens == 0


async def test_nothing_is_remembered_where_it_is_switched_off():
    engine = FakeEngine()
    async with served(engine, cache_mb=0) as embed:
        await embed("uno")
        answer = await embed("uno")
    assert engine.computed == ["uno", "uno"]
    assert answer.data.usage.cached_tokens == 0
