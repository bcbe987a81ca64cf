"""Batches across callers, over an engine that the test holds."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from common.context import Context
from common.errors import DeadlineError, OverloadedError
from common.models import EmbeddingKind, EmbeddingPriority
from services.embedding.batcher import Batcher, Call, Embedded
from services.embedding.lanes import Lanes
from services.embedding.ports import Matrix
from services.embedding.slots import slots_of
from tests.fakes.engine import FakeEngine, vector_of
from tests.fakes.waiting import until


class Bench:
    """A batcher over a fake engine, and calls to it."""

    def __init__(self, engine: FakeEngine, most_tokens: int = 1000) -> None:
        self.engine = engine
        self.lanes: Lanes[Call] = Lanes(most_tokens=most_tokens, batch_tokens=100, batch_texts=8)
        self.batcher = Batcher(engine, self.lanes)

    def call(self, *texts: str, bulk: bool = False, deadline_s: float | None = None) -> asyncio.Task[Embedded]:
        priority = EmbeddingPriority.BULK if bulk else EmbeddingPriority.INTERACTIVE
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        ctx = Context(tenant_id="acme", deadline=deadline)
        return asyncio.create_task(self.batcher.embed(texts, EmbeddingKind.PASSAGE, priority, ctx))

    async def queued(self, tokens: int) -> None:
        await until(lambda: self.lanes.waiting_tokens == tokens)

    async def busy(self) -> asyncio.Task[Embedded]:
        """Holds the engine with a first call, so that later ones wait in the lanes."""
        self.engine.hold()
        first = self.call("first")
        await self.engine.begun(1)
        return first


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(FakeEngine())
    async with bench.batcher.running():
        yield bench
        bench.engine.release()


async def test_vectors_come_back_in_the_callers_order(bench: Bench):
    texts = ["three words here", "one", "two words"]
    result = await bench.call(*texts)
    assert result.vectors.dtype == np.float32
    np.testing.assert_array_equal(result.vectors, [vector_of(text, 64) for text in texts])
    assert result.tokens == 6


async def test_callers_share_a_batch_and_each_gets_its_own_rows(bench: Bench):
    first = await bench.busy()
    calls = [bench.call(f"alpha {i}", f"beta {i}") for i in range(3)]
    await bench.queued(12)
    bench.engine.release()
    for i, result in enumerate(await asyncio.gather(*calls)):
        np.testing.assert_array_equal(result.vectors, [vector_of(f"alpha {i}", 64), vector_of(f"beta {i}", 64)])
    await first
    assert [len(batch) for batch in bench.engine.batches] == [1, 6]


async def test_texts_of_a_caller_that_left_are_never_computed(bench: Bench):
    first = await bench.busy()
    leaver, stayer = bench.call("leaving"), bench.call("staying")
    await bench.queued(2)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    bench.engine.release()
    await asyncio.gather(first, stayer)
    assert bench.engine.computed == ["first", "staying"]


async def test_a_passed_deadline_fails_the_call_and_its_texts_are_never_computed(bench: Bench):
    first = await bench.busy()
    late = bench.call("late", deadline_s=0.05)
    with pytest.raises(DeadlineError):
        await late
    patient = bench.call("patient", deadline_s=30)
    await bench.queued(2)  # the late text is still in the lane; it must be dropped when its turn comes
    bench.engine.release()
    await asyncio.gather(first, patient)
    assert bench.engine.computed == ["first", "patient"]
    assert bench.lanes.waiting_tokens == 0


async def test_a_deadline_passed_before_the_call_computes_nothing(bench: Bench):
    with pytest.raises(DeadlineError):
        await bench.call("too late", deadline_s=-1)
    await bench.call("marker")
    assert bench.engine.computed == ["marker"]


async def test_an_engine_failure_reaches_the_callers_of_its_batch_only(bench: Bench):
    first = await bench.busy()
    bench.engine.failure = MemoryError("no memory")
    bench.engine.release()
    with pytest.raises(MemoryError):
        await first
    np.testing.assert_array_equal((await bench.call("second")).vectors, [vector_of("second", 64)])


async def test_the_rest_of_a_failed_call_is_not_computed(bench: Bench):
    bench.engine.failure = RuntimeError("broken")
    with pytest.raises(RuntimeError):
        await bench.call(*[f"text {i}" for i in range(20)])  # eight texts a batch
    await bench.call("marker")
    assert len(bench.engine.batches) == 2


async def test_an_engine_that_returns_too_few_rows_fails_the_call_and_not_the_batcher(bench: Bench):
    bench.engine.rows_missing = 1
    with pytest.raises(ValueError, match="zip"):
        await bench.call("a", "b")
    bench.engine.rows_missing = 0
    assert (await bench.call("c")).tokens == 1


async def test_a_full_queue_refuses_and_what_it_holds_is_still_served(bench: Bench):
    bench.lanes.most_tokens = 3
    first = await bench.busy()
    waiting = bench.call("one two three")
    await bench.queued(3)
    with pytest.raises(OverloadedError):
        await bench.call("four")
    bench.engine.release()
    await asyncio.gather(first, waiting)
    assert bench.engine.computed == ["first", "one two three"]


async def test_interactive_overtakes_bulk_that_came_first(bench: Bench):
    first = await bench.busy()
    bulk = bench.call(*[f"bulk {i}" for i in range(8)], bulk=True)
    await bench.queued(16)
    asked = bench.call("asked")
    await bench.queued(17)
    bench.engine.release()
    await asyncio.gather(first, bulk, asked)
    assert "asked" in bench.engine.batches[1]


@pytest.fixture
async def wide() -> AsyncIterator[Bench]:
    """Over an engine that computes two texts at a time."""
    bench = Bench(FakeEngine(at_once=2))
    async with bench.batcher.running():
        yield bench
        bench.engine.release()


async def test_a_question_waits_for_no_passage_where_the_engine_takes_several_at_a_time(wide: Bench):
    wide.engine.hold()
    bulk = wide.call(*[f"bulk {i}" for i in range(6)], bulk=True)
    await wide.engine.begun(2)
    asked = wide.call("asked")
    await wide.engine.begun(3)
    assert wide.engine.batches[2] == ["asked"]
    wide.engine.release()
    await asyncio.gather(bulk, asked)


async def test_such_an_engine_gets_texts_one_by_one_and_rows_come_back_in_order(wide: Bench):
    texts = ["one two three", "four", "five six", "seven eight nine ten"]
    for bulk in (False, True):
        result = await wide.call(*texts, bulk=bulk)
        np.testing.assert_array_equal(result.vectors, [vector_of(text, 64) for text in texts])
    assert {len(batch) for batch in wide.engine.batches} == {1}


async def test_its_failure_reaches_the_callers_of_the_batch_only(wide: Bench):
    wide.engine.failure = MemoryError("no memory")
    with pytest.raises(MemoryError):
        await wide.call("first", bulk=True)
    assert (await wide.call("second", bulk=True)).tokens == 1


def test_bulk_batches_are_as_long_as_they_lately_took():
    (slot,) = slots_of(1)
    for _ in range(50):
        slot.saw(1000, 0.5, [EmbeddingPriority.BULK])
        slot.saw(10, 0.1, [EmbeddingPriority.INTERACTIVE])  # says nothing of bulk
    (tokens,) = slot.most_tokens(0.05).values()
    assert tokens == pytest.approx(100, abs=1)
    assert list(slot.most_tokens(1e-9).values()) == [1]
    slot.threads.shutdown()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own elsewhere")
def test_bulk_gives_way_to_questions():
    slots = slots_of(2)

    class Asking(FakeEngine):
        def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
            return np.full((1, 1), os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), dtype=np.float32)

    engine, kind = Asking(), EmbeddingKind.PASSAGE
    niceness = {slot.of: float(slot.threads.submit(slot.compute, engine, ["a"], kind).result()[0, 0]) for slot in slots}
    assert niceness[EmbeddingPriority.INTERACTIVE,] < niceness[EmbeddingPriority.BULK,]
    for slot in slots:
        slot.threads.shutdown()


async def test_texts_beyond_the_window_are_reported_and_charged_as_read():
    bench = Bench(FakeEngine(window_tokens=3))
    async with bench.batcher.running():
        result = await bench.call("one two three", "one two three four five", "x")
    assert result.truncated == [1]
    assert result.tokens == 3 + 3 + 1
