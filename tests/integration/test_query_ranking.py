"""How the query server chooses and tells what it found: weights, copies, neighbours, explanations, reranking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from malla.query.v1 import query_pb2 as pb
from malla.query.v1 import query_pb2_grpc as rpc

from common.channel import open_channel
from common.context import Context
from common.errors import UnavailableError
from services.query.adapters.reranker import MeshReranker
from services.query.bootstrap import Adapters, services
from services.query.settings import QuerySettings
from tests.fakes.accounting import LIMITS, MemoryAccounting
from tests.fakes.calls import metadata, refused
from tests.fakes.cross_encoder import FakeCrossEncoder
from tests.fakes.engine import FakeEngine
from tests.fakes.query import MemoryRecord, WordEmbedder
from tests.fakes.servers import channel_to, embedding_server


class Bench:
    """A running server, and the record of its one tenant."""

    def __init__(self, channel: grpc.aio.Channel, record: MemoryRecord) -> None:
        self._stub = rpc.QueryServiceStub(channel)
        self.record = record
        self.collection = record.create()

    def publish(self, document_id: str, *texts: str, **fields: Any) -> None:
        self.record.publish(self.collection, document_id, 1, *texts, **fields)

    async def search(self, query: str, **fields: Any) -> pb.SearchResponse:
        request = json_format.ParseDict({"collection_id": "manual", "query": query, **fields}, pb.SearchRequest())
        response: pb.SearchResponse = await self._stub.Search(request, metadata=metadata("acme"), timeout=10)
        return response

    async def found(self, query: str, **fields: Any) -> list[str]:
        return [result.document_id for result in (await self.search(query, **fields)).results]


@asynccontextmanager
async def serving(reranker: Any = None, **changes: Any) -> AsyncIterator[Bench]:
    record = MemoryRecord()
    settings = QuerySettings(_env_file=None, port=0, drain_grace_s=1, **changes)
    # Nothing here answers or chats.
    given = {"record": record, "embedder": WordEmbedder(), "accounting": MemoryAccounting(), "reranker": reranker}
    adapters = Adapters(**dict.fromkeys(Adapters.__dataclass_fields__) | given)
    async with channel_to(settings, services(settings, adapters, LIMITS)) as channel:
        yield Bench(channel, record)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving() as bench:
        yield bench


def disagree(bench: Bench) -> None:
    """Lets vectors prefer one document and words the other: the fake's vectors count words, BM25 knows which are rare."""
    for i in range(8):
        bench.publish(f"fill-{i}", f"luz de la sala {'abcdefgh'[i]}", metadata={"title": f"Sala {i}"})
    bench.publish("common", "luz de la luz de la")
    bench.publish("rare", "luz de la Colibrí que parpadea en una casa con muchas otras cosas que hacer y ver antes")


@pytest.mark.parametrize(("weight", "first"), [(1.0, "common"), (0.0, "rare")])
async def test_a_collection_says_how_much_vectors_count(bench: Bench, weight: float, first: str):
    disagree(bench)
    bench.collection.dense_weight = weight
    assert (await bench.found("luz de la colibrí"))[0] == first


async def test_a_collection_that_does_not_say_has_the_servers_weight():
    for weight, first in ((1.0, "common"), (0.0, "rare")):
        async with serving(search_dense_weight=weight) as bench:
            disagree(bench)
            assert (await bench.found("luz de la colibrí"))[0] == first


async def test_an_explanation_says_what_each_index_added(bench: Bench):
    bench.publish("luces", "La luz roja indica que no hay señal.", metadata={"title": "Luces del módem"})
    bench.publish("facturas", "La factura se paga el día cinco.")
    best = (await bench.search("¿Qué indica la luz del modem Xenón?", explain=True)).results[0]
    told = best.explanation
    assert best.document_id == "luces"
    assert [part.name for part in told.parts] == ["dense", "lexical"]
    assert all(part.score > 0 and part.rank == 1 for part in told.parts)
    assert told.parts[0].weight == pytest.approx(0.6)
    assert 0 < told.coverage < 1  # nothing here is about xenon, and "qué" is not said either
    assert told.parts[1].weight == pytest.approx(0.4 * told.coverage)
    assert list(told.title_words) == ["modem"]
    assert (told.fused_rank, told.fused_score) == (1, pytest.approx(best.score))
    assert not told.HasField("rerank_score")


async def test_nothing_is_explained_where_nobody_asks(bench: Bench):
    bench.publish("luces", "luz roja")
    assert not (await bench.search("luz")).results[0].HasField("explanation")


async def test_a_mode_explains_the_one_index_it_asks(bench: Bench):
    bench.publish("luces", "luz roja")
    for mode in ("DENSE", "LEXICAL"):
        [result] = (await bench.search("luz", mode=mode, explain=True)).results
        [part] = result.explanation.parts
        assert (part.name.upper(), part.score) == (mode, pytest.approx(result.score))


async def test_a_copy_is_not_shown_twice_and_its_place_goes_to_the_next(bench: Bench):
    text = "La luz roja del módem indica que no hay señal."
    for name in ("manual", "guion", "portal"):
        bench.publish(name, text)
    bench.publish("factura", "La luz se paga el día cinco.")
    response = await bench.search("luz roja", k=2)
    assert [result.document_id for result in response.results] == ["guion", "factura"]
    assert list(response.results[0].also_in) == ["manual", "portal"]


async def test_however_many_copies_there_are_what_differs_is_found(bench: Bench):
    for i in range(40):
        bench.publish(f"copia-{i}", "La luz roja del módem indica que no hay señal.")
    bench.publish("otra", "La luz del portal.")
    assert await bench.found("luz roja del módem", k=2) == ["copia-0", "otra"]


async def test_neighbours_come_as_one_passage_with_offsets_around_it(bench: Bench):
    bench.publish("luces", "La luz roja avisa.", "La luz verde calma.", metadata={"title": "Luces"})
    bench.publish("otra", "Una luz cualquiera de la calle.")
    joined, other = (await bench.search("luz roja verde", k=2)).results
    assert joined.text == "La luz roja avisa.\nLa luz verde calma."
    assert list(joined.chunk_ids) == ["luces:1:0", "luces:1:1"]
    assert joined.chunk_id in joined.chunk_ids
    assert other.document_id == "otra"


async def test_context_adds_the_chunks_around(bench: Bench):
    bench.publish("guia", "Primero respire.", "Pulse el botón azul.", "Después espere.", "Al final salga.")
    bench.publish("otra", "Nada que ver.")
    plain = await bench.search("botón azul", k=1)
    wide = await bench.search("botón azul", k=1, context=1)
    assert plain.results[0].text == "Pulse el botón azul."
    assert wide.results[0].text == "Primero respire.\nPulse el botón azul.\nDespués espere."
    assert wide.results[0].chunk_id == plain.results[0].chunk_id == "guia:1:1"


async def test_context_is_bounded(bench: Bench):
    failure = await refused(bench.search("luz", context=6))
    assert failure.detail("BadRequest").field_violations[0].field == "context"


class Scores:
    """A reranker that likes the longest text, and says what it was asked."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.asked: list[tuple[str, list[str]]] = []

    async def rerank(self, query: str, texts: Sequence[str], ctx: Context) -> Sequence[float]:
        self.asked.append((query, list(texts)))
        if self.failure is not None:
            raise self.failure
        return [float(len(text)) for text in texts]


async def test_a_reranker_decides_the_order_and_is_explained():
    scores = Scores()
    async with serving(scores) as bench:
        bench.publish("corta", "luz roja")
        bench.publish("larga", "luz de una calle que no termina nunca", metadata={"title": "Calles"})
        response = await bench.search("luz roja", explain=True)
    assert [result.document_id for result in response.results] == ["larga", "corta"]
    best = response.results[0]
    assert best.score == best.explanation.rerank_score == len(scores.asked[0][1][1])
    assert best.explanation.fused_rank == 2
    assert best.explanation.fused_score < 1
    assert "Calles\nluz de una calle que no termina nunca" in scores.asked[0][1]
    assert response.metadata["reranked"].bool_value


async def test_only_the_first_candidates_are_reranked():
    scores = Scores()
    async with serving(scores, rerank_candidates=3) as bench:
        for i in range(9):
            bench.publish(f"doc-{i}", f"luz número {i}")
        assert len(await bench.found("luz", k=5)) == 3
    assert len(scores.asked[0][1]) == 3


async def test_a_reranker_that_is_down_leaves_the_fused_order():
    async with serving(Scores(UnavailableError("embedding server"))) as bench:
        bench.publish("corta", "luz roja")
        bench.publish("larga", "luz de una calle que no termina nunca")
        response = await bench.search("luz roja", explain=True)
    assert [result.document_id for result in response.results] == ["corta", "larga"]
    assert not response.results[0].explanation.HasField("rerank_score")
    assert not response.metadata["reranked"].bool_value


async def test_the_embedding_servers_cross_encoder_reranks():
    model = FakeCrossEncoder()
    async with (
        embedding_server(FakeEngine(), model) as address,
        open_channel(address) as channel,
        serving(MeshReranker(channel)) as bench,
    ):
        bench.publish("uno", "luz roja del módem")
        bench.publish("dos", "luz roja de la calle y del módem y de la casa")
        response = await bench.search("luz roja calle casa", explain=True)
    assert [result.document_id for result in response.results] == ["dos", "uno"]
    assert response.results[0].explanation.rerank_score == pytest.approx(1.0)
