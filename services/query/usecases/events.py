"""What every stream of events owes its reader: numbers without gaps, a sign of life, and an explicit end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from common.context import Context
from common.errors import InternalError, MallaError
from common.models import ChatEvent, Heartbeat, StreamError


async def numbered(events: AsyncGenerator[ChatEvent, None], ctx: Context, *, heartbeat_s: float) -> AsyncIterator[ChatEvent]:
    """Yields the events numbered from 1, with a heartbeat after each `heartbeat_s` seconds of silence.

    A failure before the first event is raised as it is, for a proper status. After it, an `error` event tells the reader,
    because a status is lost in a transcoded stream; the failure is raised behind it for gRPC callers.
    """
    sequence = 0
    async with aclosing(_with_heartbeats(events, heartbeat_s)) as stream:
        try:
            async for event in stream:
                sequence += 1
                yield event.model_copy(update={"sequence": sequence})
        except MallaError as error:
            if sequence:
                yield ChatEvent(sequence=sequence + 1, error=_told(error))
            raise
        except Exception:
            if sequence:
                hidden = InternalError(f"The answer failed inside. The server's log has it under request id {ctx.request_id}.")
                yield ChatEvent(sequence=sequence + 1, error=_told(hidden))
            raise


def _told(error: MallaError) -> StreamError:
    return StreamError(type=error.reason, code=error.code.value, message=error.message, details=error.details)


async def _with_heartbeats(events: AsyncGenerator[ChatEvent, None], heartbeat_s: float) -> AsyncGenerator[ChatEvent, None]:
    async with aclosing(events):
        upcoming = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=heartbeat_s)
                if not done:
                    yield ChatEvent(heartbeat=Heartbeat())
                    continue
                event = upcoming.result()
                if event is None:
                    return
                upcoming = asyncio.ensure_future(anext(events, None))
                yield event
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
