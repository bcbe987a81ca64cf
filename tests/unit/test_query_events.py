"""What every stream of events owes its reader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from common.context import Context
from common.errors import DeadlineError, UnavailableError
from common.models import ChatEvent, Done, Retrieval
from common.tasks import finished
from services.query.usecases.events import Event, Numbered, numbered

CTX = Context(request_id="r1")
FOUND = ChatEvent(retrieval=Retrieval())
DONE = ChatEvent(done=Done())


class Source:
    """Yields each text or event, waits where there is None, raises what is an exception; says when it was closed."""

    def __init__(self, *steps: Event | Exception | None) -> None:
        self._steps = steps
        self.go_on = asyncio.Event()
        self.closed = False

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                if step is None:
                    await self.go_on.wait()
                else:
                    yield step
        finally:
            await asyncio.sleep(0)
            self.closed = True


def read(source: Source, heartbeat_s: float = 30) -> AsyncGenerator[Numbered, None]:
    return numbered(source.events(), CTX, heartbeat_s=heartbeat_s)


def kind(item: Numbered) -> str:
    if isinstance(item.event, str):
        return "delta"
    [name] = [name for name in ChatEvent.model_fields if name != "sequence" and getattr(item.event, name) is not None]
    return name


async def test_events_are_numbered_from_one_without_gaps():
    source = Source(FOUND, "a", DONE)
    items = [item async for item in read(source)]
    assert [(item.sequence, kind(item)) for item in items] == [(1, "retrieval"), (2, "delta"), (3, "done")]
    assert source.closed


async def test_pieces_that_wait_together_leave_together_and_in_order():
    items = [item async for item in read(Source(FOUND, "a", "b", "c", DONE, "d"))]
    texts = [item.event for item in items if isinstance(item.event, str)]
    assert "".join(texts) == "abcd"
    assert len(texts) < 4
    assert [kind(item) for item in items if kind(item) != "delta"] == ["retrieval", "done"]
    assert [item.sequence for item in items] == list(range(1, len(items) + 1))


async def test_a_piece_does_not_wait_for_the_next():
    source = Source("a", None, "b")
    items = read(source)
    assert (await anext(items)).event == "a"
    source.go_on.set()
    assert (await anext(items)).event == "b"
    await items.aclose()


async def test_a_source_far_ahead_of_its_reader_waits():
    made = []

    async def endless() -> AsyncGenerator[Event, None]:
        while True:
            made.append(1)
            yield FOUND

    items = numbered(endless(), CTX, heartbeat_s=30)
    for _ in range(5):
        await anext(items)
        await asyncio.sleep(0)
    assert len(made) < 200
    await items.aclose()


async def test_silence_is_broken_by_heartbeats_that_are_numbered_too():
    source = Source("a", None, "b")
    items = []
    async for item in read(source, heartbeat_s=0.02):
        items.append(item)
        if len(items) == 3:
            source.go_on.set()
    kinds = [kind(item) for item in items]
    assert kinds[0] == kinds[-1] == "delta"
    assert set(kinds[1:-1]) == {"heartbeat"}
    assert len(kinds) >= 4
    assert [item.sequence for item in items] == list(range(1, len(items) + 1))


async def test_a_lively_stream_has_no_heartbeat():
    assert {kind(item) async for item in read(Source(FOUND, "b", DONE), heartbeat_s=5)} == {"retrieval", "delta", "done"}


async def test_a_failure_before_the_first_event_is_raised_as_it_is():
    failure, items = UnavailableError("database"), []
    with pytest.raises(UnavailableError) as raised:
        async for item in read(Source(failure)):
            items.append(item)
    assert raised.value is failure
    assert items == []


async def test_a_failure_after_it_is_told_by_an_event_and_raised_behind_it():
    items = []
    with pytest.raises(DeadlineError):
        async for item in read(Source("a", DeadlineError("words"))):
            items.append(item)
    error = items[-1].event.error
    assert [item.sequence for item in items] == [1, 2]
    assert (error.type, error.code) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert error.message == DeadlineError("words").message


async def test_an_unexpected_failure_is_told_without_its_words():
    items = []
    with pytest.raises(ValueError, match="hunter2"):
        async for item in read(Source("a", ValueError("password=hunter2"))):
            items.append(item)
    error = items[-1].event.error
    assert error.type == "INTERNAL"
    assert "hunter2" not in error.model_dump_json()
    assert "r1" in error.message


async def test_a_failure_after_a_heartbeat_is_told_by_an_event():
    source, kinds = Source(None, DeadlineError("words")), []
    with pytest.raises(DeadlineError):
        async for item in read(source, heartbeat_s=0.02):
            kinds.append(kind(item))
            source.go_on.set()
    assert kinds[0] == "heartbeat"
    assert kinds[-1] == "error"


async def test_nothing_is_told_behind_done():
    source = Source("a", DONE, UnavailableError("database"))
    assert [kind(item) async for item in read(source)] == ["delta", "done"]
    assert source.closed


async def test_a_source_that_something_else_cancelled_ends_its_stream():
    async def cancelled() -> AsyncGenerator[Event, None]:
        yield "a"
        raise asyncio.CancelledError

    kinds = []
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="cancelled"):
            async for item in numbered(cancelled(), CTX, heartbeat_s=0.1):
                kinds.append(kind(item))
    assert kinds == ["delta", "error"]


async def test_a_reader_hears_of_the_deadline_before_the_answer_is_tidied_up():
    tidied = asyncio.Event()

    async def slow_to_end() -> AsyncGenerator[Event, None]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await finished(tidied.wait())

    ctx = Context(deadline=time.monotonic() + 0.3)
    items = numbered(slow_to_end(), ctx, heartbeat_s=30)
    async with asyncio.timeout(5):
        assert [kind(await anext(items)), kind(await anext(items))] == ["delta", "error"]
    tidied.set()
    with pytest.raises(DeadlineError):
        await anext(items)


@pytest.mark.parametrize("read_first", [1, 2, 3])
async def test_the_source_is_closed_when_the_reader_leaves(read_first: int):
    source = Source(FOUND, "b", DONE, None, "c")
    items = read(source)
    for _ in range(read_first):
        await anext(items)
    await items.aclose()
    assert source.closed


async def test_a_source_whose_driver_lost_the_cancellation_is_ended_all_the_same():
    ended = []

    async def losing() -> AsyncGenerator[Event, None]:
        try:
            yield "a"
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                yield "b"
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    items = numbered(losing(), CTX, heartbeat_s=30)
    await anext(items)
    async with asyncio.timeout(5):
        await items.aclose()
    assert ended


async def test_the_source_is_closed_when_the_reader_is_cancelled():
    source = Source("a", None)

    async def reading() -> None:
        async for _ in read(source):
            started.set()

    started = asyncio.Event()
    task = asyncio.create_task(reading())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed
