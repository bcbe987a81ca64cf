"""A question's vector is begun beside the look at its collection, and what it took is written beside the search."""

from __future__ import annotations

import asyncio

import pytest

from common.context import Context
from common.errors import NotFoundError, UnavailableError
from common.tiers import TierSettings
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.domain.collection_index import CollectionIndex
from services.query.usecases.counted_search import CountedSearch
from services.query.usecases.follow import FollowCollections
from services.query.usecases.limits import Limits
from services.query.usecases.search import SearchPassages, SearchSpec
from tests.fakes.accounting import MemoryAccounting
from tests.fakes.query import MODEL, MemoryRecord, WordEmbedder

SPEC = SearchSpec("luces", "¿Qué dice la luz roja?", 3)


class Record(MemoryRecord):
    """A record whose collections can be held back."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.let.set()

    async def collection(self, tenant_id, collection_id):
        await self.let.wait()
        return await super().collection(tenant_id, collection_id)


class Embedder(WordEmbedder):
    """Notes the models that are asked for, and says when one is."""

    def __init__(self) -> None:
        super().__init__()
        self.models: list[str] = []
        self.asked = asyncio.Event()

    async def embed(self, texts, kind, ctx, model=""):
        self.models.append(model)
        self.asked.set()
        return await super().embed(texts, kind, ctx, model)


@pytest.fixture
def record():
    record = Record()
    record.publish(record.create("luces"), "doc", 1, "la luz roja del módem avisa")
    return record


@pytest.fixture
def embedder():
    return Embedder()


@pytest.fixture
def search(record, embedder):
    return SearchPassages(record, embedder, FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=5))


def ctx() -> Context:
    return Context(tenant_id="acme")


async def test_a_second_question_is_embedded_while_its_collection_is_looked_at(search, record, embedder):
    await search(SPEC, ctx())
    embedder.asked.clear()
    record.let.clear()
    searching = asyncio.create_task(search(SPEC, ctx()))
    async with asyncio.timeout(10):
        await embedder.asked.wait()
    record.let.set()
    assert [result.document_id for result in (await searching).results] == ["doc"]
    assert len(embedder.calls) == 2


async def test_a_guess_of_a_model_that_the_collection_left_is_made_good(search, record, embedder):
    await search(SPEC, ctx())
    record._collections["acme", "luces"].model = MODEL  # which was not known before its first document
    embedder.served, embedder.models = [MODEL], []
    search._models["acme", "luces"] = "served-no-more"
    context = ctx()
    assert (await search(SPEC, context)).usage.model == MODEL
    assert sorted(embedder.models) == sorted(["served-no-more", MODEL])
    assert "notice" not in context.metrics


async def test_a_collection_that_is_gone_is_not_found_whatever_its_guess_came_to(search, record, embedder):
    await search(SPEC, ctx())
    del record._collections["acme", "luces"]
    embedder.failure = UnavailableError("embedding server")
    with pytest.raises(NotFoundError):
        await search(SPEC, ctx())
    embedder.failure, embedder.calls = None, []
    with pytest.raises(NotFoundError):  # it is not guessed again
        await search(SPEC, ctx())
    assert embedder.calls == []


class Ledger(MemoryAccounting):
    """A ledger that says when rows come, and takes them when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.came, self.let = asyncio.Event(), asyncio.Event()

    async def commit(self, reservation, entries, ctx):
        self.came.set()
        await self.let.wait()
        return await super().commit(reservation, entries, ctx)


async def test_a_search_is_counted_beside_itself_and_durable_when_it_returns(search, monkeypatch):
    ledger = Ledger()
    counted = CountedSearch(search, ledger, Limits(TierSettings(), usual_tokens=100))
    await search(SPEC, ctx())
    searched = asyncio.Event()
    loop, original = asyncio.get_running_loop(), CollectionIndex.search

    def noted(self, what):
        hits = original(self, what)
        loop.call_soon_threadsafe(searched.set)
        return hits

    monkeypatch.setattr(CollectionIndex, "search", noted)
    calling = asyncio.create_task(counted(SPEC, "query", ctx()))
    async with asyncio.timeout(10):
        await ledger.came.wait()
        await searched.wait()
    assert not calling.done()
    ledger.let.set()
    assert [result.document_id for result in (await calling).results] == ["doc"]
    assert (len(ledger.rows), ledger.commits, ledger.open) == (1, 1, [])


async def test_a_search_that_fails_after_it_was_counted_is_counted(search, monkeypatch):
    ledger = Ledger()
    ledger.let.set()
    counted = CountedSearch(search, ledger, Limits(TierSettings(), usual_tokens=100))

    def fails(self, what):
        raise RuntimeError("broken")

    monkeypatch.setattr(CollectionIndex, "search", fails)
    with pytest.raises(RuntimeError, match="broken"):
        await counted(SPEC, "query", ctx())
    assert (len(ledger.rows), ledger.open) == (1, [])
