"""What every stream of events owes its reader: numbers without gaps, a sign of life, and an explicit end."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from common.context import Context
from common.errors import DeadlineError, InternalError, MallaError
from common.models import ChatEvent, Heartbeat, StreamError
from common.tasks import stop

log = logging.getLogger("malla.query")

Event = str | ChatEvent
"""A piece of the answer, or any other event. Pieces are by far the most, and stay plain text until they are sent."""

# Events a slow reader may leave waiting; then the source waits, and with it the model's connection.
_MOST_WAITING = 64
# Of its deadline, a stream keeps this long, or this share where that is less, to say that it is over.
_GOODBYE_S = 0.2
_GOODBYE_SHARE = 0.1


class Numbered(NamedTuple):
    """An event with its place in the stream, from 1."""

    sequence: int
    event: Event


@dataclass(frozen=True)
class _End:
    error: Exception | None = None


async def numbered(events: AsyncGenerator[Event, None], ctx: Context, *, heartbeat_s: float) -> AsyncGenerator[Numbered, None]:
    """Yields the events numbered, with a heartbeat after each `heartbeat_s` seconds of silence.

    Pieces of the answer that wait together leave together, so that a fast model does not cost a message a token; no piece waits
    for another. A failure before the first event is raised as it is, for a proper status. After it, an `error` event tells the
    reader, because a status is lost in a transcoded stream; the failure is raised behind it for gRPC callers. Behind `done` no
    failure is told: it is in the log.
    """
    sequence, is_done = 0, False
    async with _pumped(events, heartbeat_s, _budget_s(ctx)) as queue:
        held: Event | _End | None = None
        while True:
            item = held if held is not None else await queue.get()
            held = None
            if isinstance(item, str):
                item, held = _joined(item, queue)
            if isinstance(item, _End):
                break
            sequence += 1
            yield Numbered(sequence, item)
            is_done = is_done or (isinstance(item, ChatEvent) and item.done is not None)
        if item.error is not None and sequence and not is_done:
            # Inside: the reader does not wait until what is left of the answer is tidied up.
            yield Numbered(sequence + 1, ChatEvent(error=_told(item.error, ctx)))
    if item.error is not None:
        if is_done:
            log.warning("failed behind the end of an answer", exc_info=item.error)
            return
        raise item.error


def _joined(piece: str, queue: asyncio.Queue[Event | _End]) -> tuple[str, Event | _End | None]:
    pieces = [piece]
    while not queue.empty():
        item = queue.get_nowait()
        if not isinstance(item, str):
            return "".join(pieces), item
        pieces.append(item)
    return "".join(pieces), None


@asynccontextmanager
async def _pumped(
    events: AsyncGenerator[Event, None], heartbeat_s: float, budget_s: float | None
) -> AsyncIterator[asyncio.Queue[Event | _End]]:
    """Runs the source in a task of its own while the block runs; a reader that leaves cancels it and waits for its clean-up.

    So does the end of `budget_s`, and the reader is told.
    """
    queue: asyncio.Queue[Event | _End] = asyncio.Queue(_MOST_WAITING)
    last, late = time.monotonic(), DeadlineError("the rest of the answer")

    def tell_late() -> None:
        # At once: the clean-up may take longer than the caller waits. A reader that is behind hears of it after the clean-up.
        if not queue.full():
            queue.put_nowait(_End(late))

    async def pump() -> None:
        nonlocal last
        end, timer = _End(), asyncio.timeout(budget_s)
        try:
            async with timer, aclosing(events):
                async for event in events:
                    last = time.monotonic()
                    await queue.put(event)
        except Exception as error:  # noqa: BLE001  # raised again where it is read
            end = _End(late if timer.expired() else error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            end = _End(RuntimeError("the source was cancelled by nobody who reads it"))  # a channel that closed, for one
        await queue.put(end)

    async def beat() -> None:
        # One sleeper a stream costs less than a time-out around every event.
        nonlocal last
        while True:
            silence = time.monotonic() - last
            if silence >= heartbeat_s and queue.empty():
                last = time.monotonic()
                queue.put_nowait(ChatEvent(heartbeat=Heartbeat()))
            await asyncio.sleep(max(heartbeat_s - silence, 0.001) if silence < heartbeat_s else heartbeat_s)

    tasks = [asyncio.create_task(pump(), name="answer-events"), asyncio.create_task(beat(), name="heartbeat")]
    alarm = None if budget_s is None else asyncio.get_running_loop().call_later(budget_s, tell_late)
    try:
        yield queue
    finally:
        if alarm is not None:
            alarm.cancel()
        await stop(tasks)


def _budget_s(ctx: Context) -> float | None:
    """Returns the seconds a stream may take: a little less than the caller waits, so that it hears why nothing more comes."""
    if ctx.deadline is None:
        return None
    remaining_s = ctx.remaining_s(math.inf)
    return remaining_s - min(_GOODBYE_S, remaining_s * _GOODBYE_SHARE)


def _told(error: Exception, ctx: Context) -> StreamError:
    if not isinstance(error, MallaError):
        # Its text may hold anything; the interceptor logs it.
        error = InternalError(f"The answer failed inside. The server's log has it under request id {ctx.request_id}.")
    return StreamError(type=error.reason, code=error.code.value, message=error.message, details=error.details)
