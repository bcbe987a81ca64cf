"""Converts between the contract of the call centre and the use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from malla.chat.v1 import chat_pb2 as pb
from malla.chat.v1 import event_pb2

from common.context import Context, with_context
from common.models import Agent, Visitor
from common.protobuf import from_message, to_message
from services.query.chat_ports import ConfiguredModels
from services.query.convert import to_citations, to_event, to_usage
from services.query.usecases.chat.agents import CHANGEABLE, ManageAgents
from services.query.usecases.chat.conversations import ManageConversations
from services.query.usecases.chat.hold import ChatSpec, HoldConversation
from services.query.usecases.chat.models import CheckModel
from services.query.usecases.events import numbered


@dataclass(frozen=True)
class ChatUseCases:
    """What the servicers call."""

    hold: HoldConversation
    agents: ManageAgents
    conversations: ManageConversations
    models: ConfiguredModels
    check: CheckModel
    heartbeat_s: float


class ChatServicer:
    """malla.chat.v1.ChatService."""

    def __init__(self, use: ChatUseCases) -> None:
        self._use = use

    @with_context(tenant=True, session=True)
    async def Chat(self, request: pb.ChatRequest, ctx: Context) -> pb.ChatResponse:
        outcome = await self._use.hold.whole(_spec(request), ctx)
        done = outcome.done
        for name, value in done.metadata.items():
            ctx.add_metric(name, value)
        return pb.ChatResponse(
            message="a human has the conversation" if outcome.handoff_reason else "answered",
            answer=done.answer,
            citations=to_citations(done.citations),
            usage=to_usage(done.usage),
            model=done.model,
            session_id=request.session_id,
            message_id=done.message_id,
            finish_reason=done.finish_reason,
        )

    @with_context(tenant=True, session=True)
    async def StreamChat(self, request: pb.ChatRequest, ctx: Context) -> AsyncIterator[event_pb2.ChatEvent]:
        events = numbered(self._use.hold.stream(_spec(request), ctx), ctx, heartbeat_s=self._use.heartbeat_s)
        async with aclosing(events):
            async for item in events:
                yield to_event(item)

    @with_context(tenant=True)
    async def TestConnection(self, request: pb.TestConnectionRequest, ctx: Context) -> pb.TestConnectionResponse:
        return to_message(await self._use.check(ctx), pb.TestConnectionResponse)

    @with_context(tenant=True)
    async def ListModels(self, request: pb.ListModelsRequest, ctx: Context) -> pb.ModelsListResponse:
        models = await self._use.models.all()
        return pb.ModelsListResponse(models=[to_message(model, pb.Model) for model in models])

    @with_context(tenant=True)
    async def VerifyApiKey(self, request: pb.VerifyApiKeyRequest, ctx: Context) -> pb.VerifyApiKeyResponse:
        return to_message(await self._use.models.verify(), pb.VerifyApiKeyResponse)


class AgentServicer:
    """malla.chat.v1.AgentService."""

    def __init__(self, use: ChatUseCases) -> None:
        self._agents = use.agents

    @with_context(tenant=True)
    async def CreateAgent(self, request: pb.CreateAgentRequest, ctx: Context) -> pb.AgentResponse:
        made = await self._agents.create(from_message(Agent, request.agent), request.request_id, ctx)
        return pb.AgentResponse(message="agent created", agent=to_message(made, pb.Agent))

    @with_context(tenant=True)
    async def ListAgents(self, request: pb.ListAgentsRequest, ctx: Context) -> pb.AgentsListResponse:
        found, token = await self._agents.page(request.page_size, request.page_token, ctx)
        return pb.AgentsListResponse(agents=[to_message(agent, pb.Agent) for agent in found], next_page_token=token)

    @with_context(tenant=True)
    async def GetAgent(self, request: pb.GetAgentRequest, ctx: Context) -> pb.AgentResponse:
        return pb.AgentResponse(agent=to_message(await self._agents.get(request.id_agente, ctx), pb.Agent))

    @with_context(tenant=True)
    async def UpdateAgent(self, request: pb.UpdateAgentRequest, ctx: Context) -> pb.AgentResponse:
        # AIP-134: without a mask, what was sent is what changes.
        sent = [field.name for field, _ in request.agent.ListFields() if field.name in CHANGEABLE]
        names = list(request.update_mask.paths) or sent
        changed = await self._agents.change(request.id_agente, from_message(Agent, request.agent), names, ctx)
        return pb.AgentResponse(message="agent changed", agent=to_message(changed, pb.Agent))

    @with_context(tenant=True)
    async def DeleteAgent(self, request: pb.DeleteAgentRequest, ctx: Context) -> pb.DeleteAgentResponse:
        await self._agents.delete(request.id_agente, ctx)
        return pb.DeleteAgentResponse(message="agent deleted")


class ConversationServicer:
    """malla.chat.v1.ConversationService."""

    def __init__(self, use: ChatUseCases) -> None:
        self._conversations = use.conversations

    @with_context(tenant=True)
    async def ListConversations(self, request: pb.ListConversationsRequest, ctx: Context) -> pb.ConversationsListResponse:
        found, token = await self._conversations.page(request.page_size, request.page_token, request.handed_off, ctx)
        listed = [to_message(conversation, pb.Conversation) for conversation in found]
        return pb.ConversationsListResponse(conversations=listed, next_page_token=token)

    @with_context(tenant=True, session=True)
    async def GetConversation(self, request: pb.GetConversationRequest, ctx: Context) -> pb.ConversationResponse:
        found, token = await self._conversations.get(request.session_id, request.page_token, ctx)
        return pb.ConversationResponse(conversation=to_message(found, pb.Conversation), next_page_token=token)

    @with_context(tenant=True, session=True)
    async def DeleteConversation(self, request: pb.DeleteConversationRequest, ctx: Context) -> pb.DeleteConversationResponse:
        await self._conversations.delete(request.session_id, ctx)
        return pb.DeleteConversationResponse(message="conversation deleted")

    @with_context(tenant=True, session=True)
    async def HandOff(self, request: pb.HandOffRequest, ctx: Context) -> pb.ConversationResponse:
        changed, token = await self._conversations.hand_off(request.session_id, request.reason, ctx)
        return pb.ConversationResponse(
            message="a human has the conversation; the bot is silent",
            conversation=to_message(changed, pb.Conversation),
            next_page_token=token,
        )

    @with_context(tenant=True, session=True)
    async def HandBack(self, request: pb.HandBackRequest, ctx: Context) -> pb.ConversationResponse:
        changed, token = await self._conversations.hand_back(request.session_id, ctx)
        return pb.ConversationResponse(
            message="the bot answers again", conversation=to_message(changed, pb.Conversation), next_page_token=token
        )

    @with_context(tenant=True, session=True)
    async def AddTurn(self, request: pb.AddTurnRequest, ctx: Context) -> pb.TurnResponse:
        turn = await self._conversations.add_turn(request.session_id, request.mensaje, request.author, request.request_id, ctx)
        return pb.TurnResponse(message="turn stored", turn=to_message(turn, pb.Turn))


def _spec(request: pb.ChatRequest) -> ChatSpec:
    return ChatSpec(
        id_agente=request.id_agente,
        message=request.mensaje,
        session_id=request.session_id,
        origin=request.origin,
        model=request.model,
        temperature=request.temperature if request.HasField("temperature") else None,
        max_tokens=request.max_tokens,
        k=request.k,
        visitor=from_message(Visitor, request.visitor) if request.HasField("visitor") else None,
        request_id=request.request_id,
    )
