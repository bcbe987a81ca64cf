"""What a stream of events owes a reader who does not read, and one who reads fast."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from common.context import Context
from common.models import ChatEvent, Done, Retrieval
from services.query.usecases.events import Event, numbered

CTX = Context(request_id="r1")
_AHEAD = 64 + 3


@pytest.mark.parametrize("event", ["piece", ChatEvent(retrieval=Retrieval())], ids=["pieces", "events"])
async def test_a_source_waits_for_a_reader_who_does_not_read(event: Event):
    made, closed = [], asyncio.Event()

    async def endless() -> AsyncGenerator[Event, None]:
        try:
            while True:
                made.append(1)
                yield event
        finally:
            closed.set()

    events = numbered(endless(), CTX, heartbeat_s=30)
    await anext(events)
    before = len(made)
    for _ in range(500):
        await asyncio.sleep(0)
    assert len(made) - before <= _AHEAD
    await events.aclose()
    assert closed.is_set()


async def test_a_failure_while_the_source_closes_does_not_hide_the_reader_leaving():
    async def sore() -> AsyncGenerator[Event, None]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("while closing")

    events = numbered(sore(), CTX, heartbeat_s=30)
    await anext(events)
    await events.aclose()


async def test_the_joined_pieces_are_the_answer_however_they_are_read():
    words = [f"{number} " for number in range(500)]

    async def fast() -> AsyncGenerator[Event, None]:
        for word in words:
            yield word
        yield ChatEvent(done=Done())

    seen = [item async for item in numbered(fast(), CTX, heartbeat_s=30)]
    assert "".join(item.event for item in seen if isinstance(item.event, str)) == "".join(words)
    assert len(seen) < 50
    assert isinstance(seen[-1].event, ChatEvent)
    assert [item.sequence for item in seen] == list(range(1, len(seen) + 1))
