"""The query server with the real record of chat, and the real router in front of an upstream that does as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import json_format
from malla.chat.v1 import chat_pb2 as pb
from malla.chat.v1 import chat_pb2_grpc as rpc
from malla.chat.v1 import event_pb2
from malla.query.v1 import query_pb2_grpc, usage_pb2_grpc

from common.llm import LlmRouter
from common.server import serving
from common.store import Store
from common.tiers import TierSettings
from services.query.adapters.agents import MongoAgents
from services.query.adapters.conversations import MongoConversations
from services.query.adapters.extractive import ExtractiveAnswerer
from services.query.adapters.first_answers import MongoFirstAnswers
from services.query.adapters.llm_answerer import ConfiguredAnswerer, LlmAnswerer
from services.query.adapters.models import RouterModels
from services.query.bootstrap import Adapters, services
from services.query.settings import QuerySettings
from services.query.usecases.limits import Limits
from tests.fakes.accounting import MemoryAccounting
from tests.fakes.calls import Failure, failure_of, metadata
from tests.fakes.llm_upstream import Upstream, running_upstream, settings_for
from tests.fakes.query import MemoryRecord, WordEmbedder

LIGHT = "La luz roja del módem indica que no hay señal óptica."
BILL = "La factura se paga el día cinco de cada mes en cualquier banco."
_CHANNEL = (("grpc.enable_retries", 0), ("grpc.max_send_message_length", -1))
TIERS = TierSettings(_env_file=None)
QUESTION = "¿Qué indica la luz roja del módem?"


class ChatBench:
    """A running server and its callers."""

    def __init__(
        self, channel: grpc.aio.Channel, upstream: Upstream, record: MemoryRecord, store: Store, accounting: Any
    ) -> None:
        self.channel = channel
        self.chat = rpc.ChatServiceStub(channel)
        self.agents = rpc.AgentServiceStub(channel)
        self.conversations = rpc.ConversationServiceStub(channel)
        self.channel = channel
        self.query = query_pb2_grpc.QueryServiceStub(channel)
        self.usage = usage_pb2_grpc.UsageServiceStub(channel)
        self.upstream, self.record, self.store, self.accounting = upstream, record, store, accounting

    def call(self, name: str, *, tenant: str = "acme", tier: str = "enterprise", timeout: float = 20, **fields: Any) -> Any:
        """Calls a method of any of the three services with a request of these fields."""
        stub = next(stub for stub in (self.chat, self.agents, self.conversations) if hasattr(stub, name))
        kind = pb.ChatRequest if name == "StreamChat" else getattr(pb, f"{name}Request")
        request = json_format.ParseDict(fields, kind())
        return getattr(stub, name)(request, metadata=metadata(tenant, request_id="r1", tier=tier), timeout=timeout)

    async def agent(self, *, tenant: str = "acme", **fields: Any) -> int:
        """Creates an agent over the manual and returns its number."""
        agent = {"name": "Ana", "collections": ["manual"], **fields}
        return int((await self.call("CreateAgent", tenant=tenant, agent=agent)).agent.id_agente)

    def say(self, mensaje: str = QUESTION, **fields: Any) -> Any:
        """Sends a message and waits for the whole answer."""
        return self.call("Chat", **{"id_agente": 1, "session_id": "s-1", "mensaje": mensaje, **fields})

    def stream(self, mensaje: str = QUESTION, **fields: Any) -> Any:
        """Sends a message; the call yields the answer's events."""
        return self.call("StreamChat", **{"id_agente": 1, "session_id": "s-1", "mensaje": mensaje, **fields})

    async def conversation(self, session_id: str = "s-1", **fields: Any) -> pb.Conversation:
        return (await self.call("GetConversation", session_id=session_id, **fields)).conversation

    async def turns(self, session_id: str = "s-1", **fields: Any) -> list[pb.Turn]:
        return list((await self.conversation(session_id, **fields)).turns)

    def prompt(self, asked: int = -1) -> list[dict[str, str]]:
        """The messages of a request as the upstream got them."""
        return list(self.upstream.chats[asked].body["messages"])


async def read(call: Any) -> tuple[list[event_pb2.ChatEvent], Failure | None]:
    """Reads a stream to its end: its events, and how it failed."""
    events: list[event_pb2.ChatEvent] = []
    try:
        async for event in call:
            events.append(event)
    except grpc.aio.AioRpcError as error:
        return events, failure_of(error)
    return events, None


def kinds(events: list[event_pb2.ChatEvent]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


async def until_delta(call: Any) -> str:
    """Reads a stream until its first piece of the answer."""
    async with asyncio.timeout(10):
        async for event in call:
            if event.HasField("delta"):
                return str(event.delta.text)
    raise AssertionError("the stream ended without a delta")


@asynccontextmanager
async def chatting(store: Store, *, llm: dict[str, Any] | None = None, **changes: Any) -> AsyncIterator[ChatBench]:
    """Serves with these settings; `llm=None` configures Groq at the upstream with the usual ones."""
    async with running_upstream() as upstream, chatting_with(store, upstream, llm, **changes) as bench:
        yield bench


@asynccontextmanager
async def chatting_with(
    store: Store,
    upstream: Upstream,
    llm: dict[str, Any] | None = None,
    *,
    configured: bool = True,
    accounting: Any = None,
    tiers: TierSettings = TIERS,
    **changes: Any,
) -> AsyncIterator[ChatBench]:
    """Serves in front of an upstream, without a model where it is not `configured`; `accounting` is in memory if not given."""
    settings = QuerySettings(_env_file=None, port=0, drain_grace_s=1, **changes)
    record, words = MemoryRecord(), WordEmbedder()
    for tenant in ("acme", "other"):
        record.publish(record.create(tenant=tenant), "luces", 1, LIGHT, metadata={"title": "Luces"})
        record.publish(record.create("pagos", tenant=tenant), "facturas", 1, BILL, metadata={"title": "Facturas"})
    accounting = accounting or MemoryAccounting()
    model = settings_for(upstream if configured else None, **(llm or {}))
    async with LlmRouter(model) as router:
        written = LlmAnswerer(router, tiers, prompt_tokens=settings.prompt_tokens, answer_tokens=model.groq_max_tokens)
        adapters = Adapters(
            record=record,
            embedder=words,
            answerer=ConfiguredAnswerer(router, written, ExtractiveAnswerer(words)),
            agents=MongoAgents(store),
            conversations=MongoConversations(store),
            models=RouterModels(router),
            accounting=accounting,
            first_answers=MongoFirstAnswers(store),
        )
        limits = Limits(tiers, usual_tokens=model.groq_max_tokens)
        # A channel that tries nothing again, so that a test sees each call once.
        async with (
            serving(settings, services(settings, adapters, limits)) as address,
            grpc.aio.insecure_channel(address, options=_CHANNEL) as channel,
        ):
            yield ChatBench(channel, upstream, record, store, accounting)
