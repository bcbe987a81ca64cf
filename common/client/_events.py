"""Reads the events of a streamed answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from common.client._caller import DEPENDENCY
from common.errors import MallaError, UnavailableError
from common.models import ChatEvent
from common.protobuf import from_message

_STATUS_S = 1.0


async def answer_events(messages: AsyncGenerator[Any, None]) -> AsyncGenerator[ChatEvent, None]:
    """Yields the events up to the last one, which is told once the call has ended: a reader may leave with it.

    Else an answered call would be cancelled, and stand so in the audit log. The status behind an `error` says the same again.

    Raises UnavailableError for a stream that ends before its last event: half an answer is never taken for a whole one.
    """
    async with aclosing(messages):
        async for message in messages:
            event = from_message(ChatEvent, message)
            if event.done or event.error:
                with suppress(MallaError, TimeoutError):
                    async with asyncio.timeout(_STATUS_S):
                        await anext(messages, None)
                yield event
                return
            yield event
    raise UnavailableError(DEPENDENCY, "The stream ended before its last event, so the answer is not whole. Ask again.")
