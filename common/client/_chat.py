"""Calls that hold a conversation, and that ask about the model behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypedDict, Unpack

from malla.chat.v1 import chat_pb2 as pb

from common.client._caller import DEADLINE_S, STREAM_DEADLINE_S, Calls
from common.client._events import answer_events
from common.client._options import request_of
from common.models import (
    ChatEvent,
    ChatResponse,
    Model,
    ModelsListResponse,
    TestConnectionResponse,
    VerifyApiKeyResponse,
    Visitor,
)
from common.protobuf import from_message


class ChatOptions(TypedDict, total=False):
    """What a message may say beside the words.

    Attributes:
        origin: Where the message comes from, for example "web".
        model: The one that answers; the agent's where nothing is said.
        temperature: 0 for the likeliest words, up to 2 for the most varied.
        max_tokens: The most to produce.
        k: How many passages to answer from; the agent's number where nothing is said.
        visitor: Who writes; kept with the conversation.
        request_id: Idempotency key: a repeated message with it gets the first answer, and is billed once.
    """

    origin: str
    model: str
    temperature: float
    max_tokens: int
    k: int
    visitor: Visitor
    request_id: str


class ChatCalls(Calls):
    """Calls that hold a conversation, and that ask about the model behind it."""

    async def chat(
        self, id_agente: int, session_id: str, mensaje: str, *, timeout_s: float = DEADLINE_S, **options: Unpack[ChatOptions]
    ) -> ChatResponse:
        """Answers a visitor's message. `metadata["handoff"]` and an empty answer say that a human has the conversation."""
        request = _request(id_agente, session_id, mensaje, options)
        return from_message(ChatResponse, await self._caller.unary(self._chat.Chat, request, timeout_s))

    async def stream_chat(
        self,
        id_agente: int,
        session_id: str,
        mensaje: str,
        *,
        timeout_s: float = STREAM_DEADLINE_S,
        **options: Unpack[ChatOptions],
    ) -> AsyncGenerator[ChatEvent, None]:
        """Answers as `chat` does, event by event. Leaving the iteration stops the model; what it said until then is stored.

        A failure before the first event is raised; a later one is the event `error` that the stream ends in. A connection that
        breaks is raised whenever it does: an iteration that ends has given `done` or `error`.
        """
        request = _request(id_agente, session_id, mensaje, options)
        async with aclosing(answer_events(self._caller.stream(self._chat.StreamChat, request, timeout_s))) as events:
            async for event in events:
                yield event

    async def models(self) -> list[Model]:
        """Returns the models that can be asked."""
        response = await self._caller.unary(self._chat.ListModels, pb.ListModelsRequest())
        return from_message(ModelsListResponse, response).models

    async def test_connection(self, *, timeout_s: float = DEADLINE_S) -> TestConnectionResponse:
        """Asks the model for one word. Raises a MallaError of code FAILED_PRECONDITION if none is configured."""
        response = await self._caller.unary(self._chat.TestConnection, pb.TestConnectionRequest(), timeout_s)
        return from_message(TestConnectionResponse, response)

    async def verify_api_key(self) -> VerifyApiKeyResponse:
        """Says whether the provider accepts the configured key; a wrong one is `valid=False`, not a failure."""
        response = await self._caller.unary(self._chat.VerifyApiKey, pb.VerifyApiKeyRequest())
        return from_message(VerifyApiKeyResponse, response)


def _request(id_agente: int, session_id: str, mensaje: str, options: ChatOptions) -> pb.ChatRequest:
    return request_of(pb.ChatRequest, {"id_agente": id_agente, "session_id": session_id, "mensaje": mensaje, **options})
