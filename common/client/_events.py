"""Reads the events of a streamed answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from common.models import ChatEvent
from common.protobuf import from_message


async def answer_events(messages: AsyncGenerator[Any, None]) -> AsyncGenerator[ChatEvent, None]:
    """Yields the events up to the last one. The status that follows an `error` says the same again, and is not waited for."""
    async with aclosing(messages):
        async for message in messages:
            event = from_message(ChatEvent, message)
            yield event
            if event.done or event.error:
                return
