"""Indexes derived from change logs, and questions remembered."""

from __future__ import annotations

import asyncio
import time

import pytest

from common.context import Context
from common.errors import DeadlineError
from common.models import EmbeddingKind, SearchMode
from common.store import CollectionRecord
from services.query.adapters.embedder import CachedEmbedder
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.domain.collection_index import Search
from services.query.usecases.follow import FollowCollections
from tests.fakes.query import MemoryRecord, WordEmbedder


class Bench:
    """A record, and one server that follows it."""

    def __init__(self) -> None:
        self.record = MemoryRecord()
        self.collection = self.record.create()
        self.follow = FollowCollections(self.record, FaissIndex, TantivyIndex, timeout_s=5)

    async def found(self, *, min_seq: int = 0, collection: CollectionRecord | None = None) -> list[str]:
        known = await self.record.collection("acme", "manual") if collection is None else collection
        index = await self.follow.at_least(known, min_seq, Context())
        return sorted(found.chunk.chunk_id for found in index.search(Search("luz", SearchMode.LEXICAL, 50, 50)).candidates)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_log_is_replayed_to_what_is_visible_now(bench: Bench):
    bench.record.publish(bench.collection, "a", 1, "luz uno", "luz dos")
    bench.record.publish(bench.collection, "b", 1, "luz")
    bench.record.publish(bench.collection, "a", 2, "luz tres")
    bench.record.delete(bench.collection, "b", 2)
    bench.record.publish(bench.collection, "c", 1, "luz")
    assert await bench.found() == ["a:2:0", "c:1:0"]


async def test_later_changes_are_followed(bench: Bench):
    bench.record.publish(bench.collection, "a", 1, "luz")
    assert await bench.found() == ["a:1:0"]
    bench.record.publish(bench.collection, "a", 2, "luz")
    bench.record.publish(bench.collection, "b", 1, "luz")
    assert await bench.found() == ["a:2:0", "b:1:0"]
    bench.record.delete(bench.collection, "a", 3)
    assert await bench.found() == ["b:1:0"]


async def test_a_version_whose_chunks_are_retired_meanwhile_is_passed_over(bench: Bench):
    bench.record.publish(bench.collection, "a", 1, "luz")
    bench.record.publish(bench.collection, "b", 1, "luz")
    changes_after = bench.record.changes_after

    async def while_another_server_publishes(tenant_id, uid, seq):
        changes = await changes_after(tenant_id, uid, seq)
        if seq == 0:
            bench.record.publish(bench.collection, "a", 2, "luz", told=False)
            bench.record.retire(bench.collection, "a", 1)
        return changes

    bench.record.changes_after = while_another_server_publishes
    assert await bench.found() == ["a:2:0", "b:1:0"]


async def test_a_search_sees_the_write_it_waits_for(bench: Bench):
    waiting = asyncio.create_task(bench.found(min_seq=2))
    bench.record.publish(bench.collection, "a", 1, "luz", told=False)
    assert not (await asyncio.wait({waiting}, timeout=0.1))[0]
    bench.record.publish(bench.collection, "b", 1, "luz", told=False)
    assert await waiting == ["a:1:0", "b:1:0"]


async def test_a_write_that_does_not_come_ends_with_the_callers_deadline(bench: Bench):
    started = time.monotonic()
    ctx = Context(deadline=started + 0.15)
    with pytest.raises(DeadlineError) as refused:
        await bench.follow.at_least(bench.collection, 7, ctx)
    assert "change 7" in refused.value.message
    assert "manual" in refused.value.message
    assert time.monotonic() - started < 2


async def test_without_a_deadline_the_servers_own_patience_ends_it():
    record = MemoryRecord()
    follow = FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=0.1)
    with pytest.raises(DeadlineError):
        await follow.at_least(record.create(), 1, Context())


async def test_a_collection_made_again_shows_nothing_of_the_old_one(bench: Bench):
    bench.record.publish(bench.collection, "a", 1, "luz")
    assert await bench.found() == ["a:1:0"]
    again = bench.record.create(uid="another")
    assert await bench.found() == []
    bench.record.publish(again, "b", 1, "luz")
    assert await bench.found() == ["b:1:0"]


async def test_a_forgotten_collection_is_read_anew(bench: Bench):
    bench.record.publish(bench.collection, "a", 1, "luz")
    await bench.found()
    bench.follow.forget("acme", "manual")
    assert await bench.found() == ["a:1:0"]


async def test_searches_side_by_side_apply_a_change_once(bench: Bench):
    bench.record.publish(bench.collection, "a", 1, "luz")
    assert await asyncio.gather(*(bench.found() for _ in range(10))) == [["a:1:0"]] * 10


async def test_tenants_have_indexes_of_their_own(bench: Bench):
    bench.record.publish(bench.collection, "a", 1, "luz")
    theirs = bench.record.create(tenant="rival")
    bench.record.publish(theirs, "b", 1, "luz")
    assert await bench.found() == ["a:1:0"]
    assert await bench.found(collection=theirs) == ["b:1:0"]


async def test_a_question_is_embedded_once_and_costs_nothing_again():
    embedder = WordEmbedder()
    cached = CachedEmbedder(embedder, size=2)
    ctx = Context(tenant_id="acme")
    first = await cached.embed(["dos palabras"], EmbeddingKind.QUERY, ctx)
    second = await cached.embed(["dos palabras"], EmbeddingKind.QUERY, ctx)
    assert len(embedder.calls) == 1
    assert (second.rows == first.rows).all()
    assert (first.usage.total_tokens, second.usage.total_tokens, second.usage.cached_tokens) == (2, 0, 0)


async def test_the_cache_is_bounded_and_kept_for_each_tenant_and_kind_apart():
    embedder = WordEmbedder()
    cached = CachedEmbedder(embedder, size=2)

    async def ask(text: str, tenant: str = "acme", kind: EmbeddingKind = EmbeddingKind.QUERY) -> int:
        await cached.embed([text], kind, Context(tenant_id=tenant))
        return len(embedder.calls)

    assert [await ask("a"), await ask("b"), await ask("a")] == [1, 2, 2]
    assert await ask("c") == 3  # forgets b, the least recently asked
    assert [await ask("a"), await ask("b")] == [3, 4]
    assert await ask("b", "rival") == 5
    assert [await ask("b", kind=EmbeddingKind.PASSAGE), await ask("b", kind=EmbeddingKind.PASSAGE)] == [6, 7]
