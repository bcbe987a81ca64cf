"""Composes the query server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from malla.chat.v1 import chat_pb2_grpc
from malla.query.v1 import query_pb2_grpc, usage_pb2_grpc

from common.channel import open_channel
from common.llm import LlmRouter, LlmSettings
from common.server import GrpcService
from common.store import open_store
from common.tiers import TierSettings
from common.tracking import TrackingSettings, open_accounting
from services.query.adapters.agents import MongoAgents
from services.query.adapters.conversations import MongoConversations
from services.query.adapters.embedder import CachedEmbedder, MeshEmbedder
from services.query.adapters.extractive import ExtractiveAnswerer
from services.query.adapters.first_answers import swept_answers
from services.query.adapters.llm_answerer import ConfiguredAnswerer, LlmAnswerer
from services.query.adapters.models import RouterModels
from services.query.adapters.record import MongoRecord
from services.query.adapters.reranker import MeshReranker
from services.query.answer_ports import FirstAnswers
from services.query.chat_ports import Agents, ConfiguredModels, Conversations
from services.query.chat_servicer import AgentServicer, ChatServicer, ChatUseCases, ConversationServicer
from services.query.indexes import in_memory, index_services, kept_indexes
from services.query.ports import Answerer, Embedder, Record, Reranker
from services.query.servicer import InternalQueryServicer, QueryServicer
from services.query.settings import QuerySettings
from services.query.usage_ports import Accounting
from services.query.usage_servicer import UsageServicer
from services.query.usecases.answer import Answering, AnswerQuestion
from services.query.usecases.answer_once import AnswerOnce, OnceRules
from services.query.usecases.chat.agents import ManageAgents
from services.query.usecases.chat.conversations import ManageConversations
from services.query.usecases.chat.hold import HoldConversation
from services.query.usecases.chat.models import CheckModel
from services.query.usecases.chat.turns import TakeTurns, TurnRules
from services.query.usecases.counted_search import CountedSearch
from services.query.usecases.follow import FollowCollections
from services.query.usecases.limits import Limits
from services.query.usecases.search import SearchPassages, SearchRules
from services.query.usecases.usage import ReadUsage

log = logging.getLogger("malla.query")


@dataclass(frozen=True)
class Adapters:
    """The world around the query server. Tests bring their own."""

    record: Record
    embedder: Embedder
    answerer: Answerer
    agents: Agents
    conversations: Conversations
    models: ConfiguredModels
    accounting: Accounting
    reranker: Reranker | None = None
    first_answers: FirstAnswers | None = None


@asynccontextmanager
async def compose(settings: QuerySettings, llm: LlmSettings | None = None) -> AsyncIterator[Sequence[GrpcService]]:
    """Opens the record, the ledger, the mesh and the models, and yields the services."""
    llm, tiers = llm or LlmSettings(), TierSettings()
    async with (
        open_store(settings) as store,
        open_accounting(TrackingSettings(), store, server="query", tiers=tiers) as accounting,
        open_channel(settings.mesh_address, max_message_bytes=settings.max_message_bytes, mesh=settings.mesh_tls()) as channel,
        LlmRouter(llm) as router,
        kept_indexes(settings, MongoRecord(store)) as follow,
        swept_answers(store) as first_answers,
    ):
        # Beside the start, not before it: a provider that hangs must not keep search from serving.
        check = asyncio.create_task(_warn_about_key(router), name="key-check")
        embedder = CachedEmbedder(MeshEmbedder(channel), settings.query_cache_size)
        written = LlmAnswerer(router, tiers, prompt_tokens=settings.prompt_tokens, answer_tokens=llm.groq_max_tokens)
        yield services(
            settings,
            Adapters(
                record=MongoRecord(store),
                embedder=embedder,
                answerer=ConfiguredAnswerer(router, written, ExtractiveAnswerer(embedder)),
                agents=MongoAgents(store),
                conversations=MongoConversations(store),
                models=RouterModels(router),
                accounting=accounting,
                reranker=MeshReranker(channel) if settings.rerank_model else None,
                first_answers=first_answers,
            ),
            Limits(tiers, usual_tokens=llm.groq_max_tokens),
            follow,
        )
        check.cancel()
        await asyncio.gather(check, return_exceptions=True)


async def _warn_about_key(router: LlmRouter) -> None:
    """Says at start what a missing or wrong key means, instead of at the first question."""
    status = await router.verify_key()
    if not status.valid:
        log.warning("%s Documents, search and quoted answers work without it.", status.message)
    else:
        await router.models()  # known from here on: who is given another model is given one that there is


def services(
    settings: QuerySettings, adapters: Adapters, limits: Limits, follow: FollowCollections | None = None
) -> Sequence[GrpcService]:
    """Returns the services over the given adapters; without indexes to follow, over some in memory."""
    follow = follow or in_memory(settings, adapters.record)
    rules = SearchRules(settings.search_candidates, settings.search_dense_weight, settings.rerank_candidates)
    search = SearchPassages(adapters.record, adapters.embedder, follow, rules, adapters.reranker)
    answering = Answering(adapters.answerer, adapters.accounting, limits)
    return (
        *_query_services(settings, adapters, search, answering),
        *index_services(adapters.record, follow),
        *_chat_services(settings, adapters, search, answering),
    )


def _query_services(
    settings: QuerySettings, adapters: Adapters, search: SearchPassages, answering: Answering
) -> Sequence[GrpcService]:
    counted = CountedSearch(search, adapters.accounting, answering.limits)
    rules = OnceRules(settings.turn_lease_s, settings.turn_wait_s, settings.answer_keep_s)
    answer = AnswerOnce(AnswerQuestion(search, answering), adapters.first_answers, rules)
    return (
        GrpcService(
            "malla.query.v1.QueryService",
            QueryServicer(counted, answer, heartbeat_s=settings.heartbeat_s),
            query_pb2_grpc.add_QueryServiceServicer_to_server,
        ),
        GrpcService(
            "malla.query.v1.InternalQueryService",
            InternalQueryServicer(counted, answer),
            query_pb2_grpc.add_InternalQueryServiceServicer_to_server,
        ),
        GrpcService(
            "malla.query.v1.UsageService",
            UsageServicer(ReadUsage(adapters.accounting)),
            usage_pb2_grpc.add_UsageServiceServicer_to_server,
        ),
    )


def _chat_services(
    settings: QuerySettings, adapters: Adapters, search: SearchPassages, answering: Answering
) -> Sequence[GrpcService]:
    rules = TurnRules(lease_s=settings.turn_lease_s, wait_s=settings.turn_wait_s)
    turns = TakeTurns(adapters.conversations, rules)
    use = ChatUseCases(
        hold=HoldConversation(adapters.agents, adapters.conversations, turns, search, answering),
        agents=ManageAgents(adapters.agents, adapters.record),
        conversations=ManageConversations(adapters.conversations, turns),
        models=adapters.models,
        check=CheckModel(adapters.models, adapters.accounting),
        heartbeat_s=settings.heartbeat_s,
    )
    return (
        GrpcService("malla.chat.v1.ChatService", ChatServicer(use), chat_pb2_grpc.add_ChatServiceServicer_to_server),
        GrpcService("malla.chat.v1.AgentService", AgentServicer(use), chat_pb2_grpc.add_AgentServiceServicer_to_server),
        GrpcService(
            "malla.chat.v1.ConversationService",
            ConversationServicer(use),
            chat_pb2_grpc.add_ConversationServiceServicer_to_server,
        ),
    )
