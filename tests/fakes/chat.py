"""A chat server that does what a message says, and remembers what reached it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from malla.chat.v1 import chat_pb2, chat_pb2_grpc, event_pb2

from common.errors import NotFoundError
from common.server import GrpcService

FLOOD_TEXT = "a" * 16_384
"""One event of the message "flood"."""

TIDY_S = 0.1
"""What the message "tidy" goes on for after its last event."""


class FakeChat(chat_pb2_grpc.ChatServiceServicer):
    """Messages: "gated" waits after its first event for `gate`, "flood" never ends, "unknown agent", "broken", "cut" and "told"
    fail before and after the first event, "nothing" ends without one, "tidy" has work after the last; any other is answered."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.requests: list[chat_pb2.ChatRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.running = 0
        self.most_running = 0
        self.cancelled: list[float] = []
        self.flooded = 0

    @property
    def service(self) -> GrpcService:
        return GrpcService("malla.chat.v1.ChatService", self, chat_pb2_grpc.add_ChatServiceServicer_to_server)

    async def StreamChat(self, request: chat_pb2.ChatRequest, context: Any) -> AsyncIterator[event_pb2.ChatEvent]:
        self.requests.append(request)
        self.metadata.append({key: value for key, value in context.invocation_metadata() if isinstance(value, str)})
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            async for event in self._events(request.mensaje):
                yield event
        except (asyncio.CancelledError, GeneratorExit):  # the latter where the call ends while an event waits to be sent
            self.cancelled.append(time.perf_counter())
            raise
        finally:
            self.running -= 1

    async def _events(self, mensaje: str) -> AsyncIterator[event_pb2.ChatEvent]:
        if mensaje == "unknown agent":
            raise NotFoundError("agent", "1", "List them with GET /api/v1/agents.")
        if mensaje == "broken":
            raise RuntimeError("password=hunter2")
        if mensaje == "nothing":
            return
        yield event_pb2.ChatEvent(sequence=1, delta=event_pb2.Delta(text="uno "))
        if mensaje == "gated":
            await self.gate.wait()
        if mensaje == "cut":
            raise NotFoundError("collection", "c", "It was deleted.")
        if mensaje == "told":
            yield event_pb2.ChatEvent(sequence=2, error=event_pb2.StreamError(type="MODEL_FAILED", code="UNAVAILABLE"))
            raise NotFoundError("collection", "c", "It was deleted.")
        while mensaje == "flood":
            self.flooded += 1
            yield event_pb2.ChatEvent(sequence=self.flooded + 1, delta=event_pb2.Delta(text=FLOOD_TEXT))
        for event in answer():
            yield event
        if mensaje == "tidy":
            await asyncio.sleep(TIDY_S)


def answer() -> list[event_pb2.ChatEvent]:
    """The events of an answer after its first delta: each kind, with all that is hard to print."""
    citation = {"index": 1, "document_id": "d", "title": 'España "y" \\ más', "text": "línea\nlínea", "score": 0.8}
    done = event_pb2.Done(message_id="m1", answer="uno dos", finish_reason="stop", model="fake", citations=[citation])
    done.metadata["model_downgraded"].bool_value = True
    return [
        event_pb2.ChatEvent(sequence=2, retrieval=event_pb2.Retrieval(citations=[citation])),
        event_pb2.ChatEvent(sequence=3, delta=event_pb2.Delta(text='d"ó\\s\n\t\x00\u2028😀')),
        event_pb2.ChatEvent(sequence=4, heartbeat=event_pb2.Heartbeat()),
        event_pb2.ChatEvent(sequence=5, handoff=event_pb2.Handoff(reason="asked")),
        event_pb2.ChatEvent(sequence=6, usage={"input_tokens": 3, "provider": "fake"}),
        event_pb2.ChatEvent(sequence=7, done=done),
    ]
