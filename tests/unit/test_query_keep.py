"""Indexes over time: snapshots when they are due, memory under its bound, nothing of collections that are gone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from common.errors import DeadlineError
from common.models import SearchMode
from common.tasks import stop
from services.query.adapters import faiss_index
from services.query.adapters.background import LowPriority
from services.query.adapters.faiss_index import FaissIndex
from services.query.usecases.follow import Followed
from services.query.usecases.replay import BrokenIndexError
from tests.fakes.indexes import CountingRecord, Server
from tests.fakes.waiting import until

MANY = 12


class Bench:
    """Collections c0 to c11 of twenty passages each, and the servers that were started on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.servers = folder, []
        self.record = CountingRecord()
        self.collections = [self.record.create(f"c{i}") for i in range(MANY)]
        for collection in self.collections:
            self.record.publish(collection, "doc", 1, *[f"luz {i} de {collection.collection_id}" for i in range(20)])

    def start(self, **more) -> Server:
        self.servers.append(Server(self.record, self.folder, **more))
        self.record.read.clear()
        return self.servers[-1]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "indexes")
    yield bench
    for server in bench.servers:
        await server.stop()


def resident(server: Server) -> list[str]:
    return [followed.collection.collection_id for followed in server.follow.resident]


async def one_size(server: Server) -> int:
    await server.found(collection="c0")
    return server.follow.size_bytes


async def test_memory_stays_under_its_bound_and_every_search_answers(bench: Bench):
    size = await one_size(bench.start())
    server = bench.start(memory_bytes=4 * size)
    for _ in range(2):
        for collection in bench.collections:
            assert len(await server.found(collection=collection.collection_id)) == 20
            assert server.follow.size_bytes <= 4 * size
            assert len(resident(server)) <= 4
    assert bench.record.read.count("doc") == MANY  # the second time they come from their snapshots


async def test_the_least_recently_searched_index_leaves_first(bench: Bench):
    size = await one_size(bench.start())
    server = bench.start(memory_bytes=3 * size)
    for name in ("c1", "c2", "c3", "c1", "c4"):
        await server.found(collection=name)
    assert resident(server) == ["c3", "c1", "c4"]


async def test_an_index_larger_than_the_bound_is_held_while_it_is_the_last_one_searched(bench: Bench):
    server = bench.start(memory_bytes=1)
    for name in ("c1", "c2"):
        assert len(await server.found(collection=name)) == 20
        assert resident(server) == [name]


async def test_searches_and_changes_of_many_collections_at_once_stay_right_under_a_bound(bench: Bench):
    server = bench.start(memory_bytes=2 * await one_size(bench.start()))

    async def use(collection) -> None:
        for version in (2, 3):
            bench.record.publish(collection, "doc", version, "luz", "luz")
            name = collection.collection_id
            assert await server.found(collection=name) == [f"doc:{version}:0", f"doc:{version}:1"]

    await asyncio.gather(*(use(collection) for collection in bench.collections))
    await server.keep.round()
    assert server.follow.size_bytes <= server.follow.memory_bytes


async def test_a_snapshot_is_written_when_enough_came_or_enough_time_passed(bench: Bench):
    server = bench.start(passages=30, age_s=1e9)
    await server.found(collection="c0")
    await server.keep.round()
    assert server.snapshots.kept() == []
    bench.record.publish(bench.collections[0], "more", 1, *["luz"] * 10)
    await server.found(collection="c0")
    await server.keep.round()
    assert [kept.seq for kept in server.snapshots.kept()] == [2]
    patient = bench.start(age_s=0.0)
    await patient.found(collection="c1")
    await patient.keep.round()
    assert {kept.collection_id for kept in patient.snapshots.kept()} == {"c0", "c1"}


async def test_a_snapshot_that_took_long_is_not_written_again_at_once(bench: Bench):
    server = bench.start(passages=1, age_s=0.0)
    await server.found(collection="c0")
    [followed] = server.follow.resident
    followed.kept_in_s = 3600
    await server.keep.round()
    assert server.snapshots.kept() == []
    followed.kept_in_s = 0
    await server.keep.round()
    assert [kept.seq for kept in server.snapshots.kept()] == [1]
    assert followed.kept_in_s > 0


async def test_a_drain_keeps_what_is_not_kept(bench: Bench):
    server = bench.start()
    await server.found(collection="c0")
    await server.found(collection="c1")
    await server.keep.drain()
    again = bench.start()
    assert len(await again.found(collection="c0")) == len(await again.found(collection="c1")) == 20
    assert bench.record.read == []


async def test_a_start_warms_up_from_the_snapshots_that_fit(bench: Bench):
    first = bench.start()
    size = await one_size(first)
    for name in ("c1", "c2", "c3"):
        await first.found(collection=name)
    await first.save()
    second = bench.start(memory_bytes=2 * size, round_s=0.01)
    running = asyncio.create_task(second.keep.run())
    await until(lambda: len(resident(second)) == 2)
    await stop([running])
    assert bench.record.read == []


async def test_nothing_stays_of_a_collection_that_is_gone_or_was_made_again(bench: Bench):
    server = bench.start()
    for name in ("c0", "c1", "c2"):
        await server.found(collection=name)
    await server.save()
    del bench.record._collections["acme", "c0"]
    bench.record.create("c1", uid="another")
    await server.keep.sweep()
    assert resident(server) == ["c2"]
    assert [kept.collection_id for kept in server.snapshots.kept()] == ["c2"]
    assert await server.found(collection="c1") == []


async def test_what_a_search_began_goes_on_when_it_gives_up(bench: Bench):
    server = bench.start()
    go_on, chunks_of = asyncio.Event(), bench.record.chunks_of

    async def slow(*args):
        await go_on.wait()
        return await chunks_of(*args)

    bench.record.chunks_of = slow
    server.follow.timeout_s = 0.05
    with pytest.raises(DeadlineError):
        await server.found(collection="c0")
    abandoned = asyncio.create_task(server.found(collection="c0"))
    await asyncio.sleep(0)
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    go_on.set()
    await until(lambda: resident(server) == ["c0"])
    assert bench.record.read == ["doc"]


async def test_an_index_that_breaks_in_a_change_is_made_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    server = bench.start()
    await server.found(collection="c0")
    [followed] = server.follow.resident
    assert followed.index is not None
    monkeypatch.setattr(followed.index.lexical, "stage", lambda *_: 1 / 0)
    bench.record.publish(bench.collections[0], "doc", 2, "luz nueva")
    with pytest.raises(BrokenIndexError):
        await server.found(collection="c0")
    assert resident(server) == []
    assert await server.found(collection="c0") == ["doc:2:0"]


def lists(followed: Followed) -> int:
    assert followed.index is not None
    return next(iter(followed.index._vectors.values()))._lists  # type: ignore[attr-defined]


async def test_an_index_that_has_grown_is_made_anew_beside_searches_and_kept(bench: Bench):
    server = bench.start(age_s=0.0, flat_most=50)
    texts = [f"palabra{i} luz" for i in range(120)]
    bench.record.publish(bench.collections[0], "large", 1, *texts)
    server.follow.run = LowPriority()
    assert len(await server.found("palabra7", SearchMode.DENSE, collection="c0")) == 50
    [followed] = server.follow.resident
    assert lists(followed) == 0
    await server.keep.round()
    assert lists(followed) > 0
    bench.record.publish(bench.collections[0], "late", 1, "tarde luz")
    bench.record.delete(bench.collections[0], "doc", 2)
    assert "late:1:0" in await server.found("tarde", SearchMode.DENSE, collection="c0")
    await server.save()
    again = bench.start(flat_most=50)
    assert "late:1:0" in await again.found("tarde", SearchMode.DENSE, collection="c0")
    assert bench.record.read == []
    assert lists(again.follow.resident[0]) > 0
    server.follow.run.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_memory_that_background_work_no_longer_needs_goes_back_to_the_system():
    def held_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def in_pieces() -> list[bytes]:
        # One piece of a thousand stays, so that what is free lies between others.
        return [bytes(1000) for _ in range(200_000)][::1000]

    run, before = LowPriority(), held_bytes()
    kept = await run(in_pieces)
    assert held_bytes() - before < 50_000_000
    assert len(kept) == 200
    run.close()


@pytest.mark.parametrize("flat_most", [50, 150], ids=["lists from lists", "lists from all in a row"])
def test_what_changes_while_lists_are_made_is_in_them(flat_most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faiss_index, "_PIECE", 7)
    rows = np.random.default_rng(1).standard_normal((220, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = FaissIndex(8, flat_most=flat_most)
    index.stage(np.arange(150), rows[:150], [])()
    index = index.beside(nullcontext)
    index.stage(np.arange(150, 170), rows[150:170], [])()
    changes = iter(range(10))

    @contextmanager
    def still() -> Iterator[None]:
        yield
        for n in islice(changes, 1):  # ten go and five come after each piece
            index.stage(np.arange(170 + 5 * n, 175 + 5 * n), rows[170 + 5 * n : 175 + 5 * n], np.arange(10 * n, 10 * n + 10))()

    fitting = index.beside(still)
    assert next(changes, None) is None
    fitting.catch_up(index)
    assert len(fitting) == 120
    assert all(next(iter(fitting.search(rows[key], 1, None))) == key for key in range(100, 220))
    assert not set(fitting.search(rows[5], 120, None)) & set(range(100))
