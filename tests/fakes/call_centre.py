"""Agents, conversations and chat behind the real server plumbing, kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from malla.chat.v1 import chat_pb2 as pb
from malla.chat.v1 import chat_pb2_grpc as rpc

from common.context import Context, with_context
from common.errors import Code, MallaError, NotFoundError, UnavailableError
from common.server import GrpcService, serving
from common.settings import ServerSettings
from tests.fakes.chat import FakeChat


class NotHandedOffError(MallaError):
    code = Code.FAILED_PRECONDITION
    reason = "NOT_HANDED_OFF"


class CallCentre(FakeChat):
    """All three services. `StreamChat` does what the message says, see FakeChat.

    So many `lost_answers` of agents that were created never arrive: the call ends in UNAVAILABLE.
    """

    def __init__(self) -> None:
        super().__init__()
        self.agents: dict[int, pb.Agent] = {}
        self.conversations: dict[str, pb.Conversation] = {}
        self.updates: list[pb.UpdateAgentRequest] = []
        self.created: dict[str, pb.Agent] = {}
        self.lost_answers = 0

    @property
    def services(self) -> list[GrpcService]:
        adders = {
            "ChatService": rpc.add_ChatServiceServicer_to_server,
            "AgentService": rpc.add_AgentServiceServicer_to_server,
            "ConversationService": rpc.add_ConversationServiceServicer_to_server,
        }
        return [GrpcService(f"malla.chat.v1.{name}", self, add) for name, add in adders.items()]

    @with_context(tenant=False)
    async def Chat(self, request: pb.ChatRequest, ctx: Context) -> pb.ChatResponse:
        self.requests.append(request)
        return pb.ChatResponse(answer="$499 [1]", session_id=request.session_id, message_id="m1", citations=[{"index": 1}])

    @with_context(tenant=False)
    async def ListModels(self, request: pb.ListModelsRequest, ctx: Context) -> pb.ModelsListResponse:
        return pb.ModelsListResponse(models=[pb.Model(id="fake", active=True)])

    @with_context(tenant=False)
    async def TestConnection(self, request: pb.TestConnectionRequest, ctx: Context) -> pb.TestConnectionResponse:
        return pb.TestConnectionResponse(provider="fake", latency_ms=1.5)

    @with_context(tenant=False)
    async def VerifyApiKey(self, request: pb.VerifyApiKeyRequest, ctx: Context) -> pb.VerifyApiKeyResponse:
        return pb.VerifyApiKeyResponse(message="no key", valid=False, provider="fake")

    @with_context(tenant=False)
    async def CreateAgent(self, request: pb.CreateAgentRequest, ctx: Context) -> pb.AgentResponse:
        made = self.created.get(request.request_id) or pb.Agent()
        if not made.id_agente:
            made.CopyFrom(request.agent)
            made.id_agente = made.id_agente or len(self.agents) + 1
            self.agents[made.id_agente] = made
            self.created |= {request.request_id: made} if request.request_id else {}
        if self.lost_answers:
            self.lost_answers -= 1
            raise UnavailableError("database")
        return pb.AgentResponse(agent=made)

    @with_context(tenant=False)
    async def ListAgents(self, request: pb.ListAgentsRequest, ctx: Context) -> pb.AgentsListResponse:
        numbers, first = sorted(self.agents), int(request.page_token or 0)
        after = first + (request.page_size or 2)
        token = str(after) if after < len(numbers) else ""
        return pb.AgentsListResponse(agents=[self.agents[number] for number in numbers[first:after]], next_page_token=token)

    @with_context(tenant=False)
    async def GetAgent(self, request: pb.GetAgentRequest, ctx: Context) -> pb.AgentResponse:
        return pb.AgentResponse(agent=self._agent(request.id_agente))

    @with_context(tenant=False)
    async def UpdateAgent(self, request: pb.UpdateAgentRequest, ctx: Context) -> pb.AgentResponse:
        self.updates.append(request)
        agent = self._agent(request.id_agente)
        for name in request.update_mask.paths:
            agent.ClearField(name)
        agent.MergeFrom(request.agent)
        return pb.AgentResponse(agent=agent)

    @with_context(tenant=False)
    async def DeleteAgent(self, request: pb.DeleteAgentRequest, ctx: Context) -> pb.DeleteAgentResponse:
        self.agents.pop(self._agent(request.id_agente).id_agente)
        return pb.DeleteAgentResponse(message="agent deleted")

    @with_context(tenant=False)
    async def ListConversations(self, request: pb.ListConversationsRequest, ctx: Context) -> pb.ConversationsListResponse:
        found = [row for _, row in sorted(self.conversations.items()) if row.handed_off or not request.handed_off]
        first = int(request.page_token or 0)
        return pb.ConversationsListResponse(
            conversations=found[first : first + 1], next_page_token=str(first + 1) if first + 1 < len(found) else ""
        )

    @with_context(tenant=False)
    async def GetConversation(self, request: pb.GetConversationRequest, ctx: Context) -> pb.ConversationResponse:
        return pb.ConversationResponse(conversation=self._conversation(request.session_id))

    @with_context(tenant=False)
    async def DeleteConversation(self, request: pb.DeleteConversationRequest, ctx: Context) -> pb.DeleteConversationResponse:
        self.conversations.pop(self._conversation(request.session_id).session_id)
        return pb.DeleteConversationResponse(message="conversation deleted")

    @with_context(tenant=False)
    async def HandOff(self, request: pb.HandOffRequest, ctx: Context) -> pb.ConversationResponse:
        found = self._conversation(request.session_id)
        found.handed_off, found.handoff_reason = True, request.reason or "requested"
        return pb.ConversationResponse(conversation=found)

    @with_context(tenant=False)
    async def HandBack(self, request: pb.HandBackRequest, ctx: Context) -> pb.ConversationResponse:
        found = self._conversation(request.session_id)
        found.handed_off, found.handoff_reason = False, ""
        return pb.ConversationResponse(conversation=found)

    @with_context(tenant=False)
    async def AddTurn(self, request: pb.AddTurnRequest, ctx: Context) -> pb.TurnResponse:
        found = self._conversation(request.session_id)
        if not found.handed_off:
            raise NotHandedOffError("The bot has it.")
        found.turns.add(role=pb.Turn.HUMAN, text=request.mensaje, author=request.author)
        return pb.TurnResponse(turn=found.turns[-1])

    def begin(self, session_id: str, **fields: Any) -> None:
        """Puts a conversation there."""
        turns = [pb.Turn(role=pb.Turn.USER, text="hola"), pb.Turn(role=pb.Turn.ASSISTANT, text="bu", state=pb.Turn.CANCELLED)]
        self.conversations[session_id] = pb.Conversation(session_id=session_id, turns=turns, **fields)

    def _agent(self, number: int) -> pb.Agent:
        if number not in self.agents:
            raise NotFoundError("agent", str(number), "List them.")
        return self.agents[number]

    def _conversation(self, session_id: str) -> pb.Conversation:
        if session_id not in self.conversations:
            raise NotFoundError("conversation", session_id, "List them.")
        return self.conversations[session_id]


@asynccontextmanager
async def running_call_centre() -> AsyncIterator[tuple[CallCentre, str]]:
    """Serves; yields the fake and its address."""
    centre = CallCentre()
    async with serving(ServerSettings(_env_file=None, port=0, drain_grace_s=0), centre.services) as address:
        yield centre, address
