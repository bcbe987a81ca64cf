"""A conversation with an agent, message by message. Failures are shown; the conversation goes on."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from common.client import MallaClient
from common.errors import MallaError, UnavailableError
from common.models import Agent, ChatEvent, Citation, StreamError
from services.cli.chat_views import View

ORIGIN = "cli"


@dataclass
class Dialogue:
    """A conversation with an agent.

    Attributes:
        sources: What the last answer rests on.
        failures: How many messages were not answered.
    """

    client: MallaClient
    view: View
    agent: Agent
    session_id: str
    sources: list[Citation] = field(default_factory=list)
    failures: int = 0

    async def say(self, mensaje: str) -> None:
        """Sends a message and shows the answer. Cancelling it closes the stream, so that the model stops."""
        self.sources = []
        events = self.client.stream_chat(self.agent.id_agente, self.session_id, mensaje, origin=ORIGIN)
        async with aclosing(_explicit(events)) as told:
            async for event in told:
                if event.done is not None:
                    self.sources = event.done.citations
                self.failures += event.error is not None
                self.view.event(event)


async def _explicit(events: AsyncGenerator[ChatEvent, None]) -> AsyncGenerator[ChatEvent, None]:
    """Yields the events of an answer; a failure of the call becomes the `error` event that the stream ends in."""
    sequence = 0
    failure: MallaError = UnavailableError("mesh")  # a stream without a last event is a lost connection
    try:
        async with aclosing(events):
            async for event in events:
                sequence = event.sequence
                yield event
                if event.done or event.error:
                    return
    except MallaError as error:
        failure = error
    told = StreamError(type=failure.reason, code=failure.code.value, message=failure.message, details=failure.details)
    yield ChatEvent(sequence=sequence + 1, error=told)


def new_session() -> str:
    """Returns an identifier for a new conversation."""
    return f"cli-{uuid.uuid4().hex[:12]}"
