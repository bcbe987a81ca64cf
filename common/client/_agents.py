"""Calls about agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TypedDict, Unpack

from google.protobuf.field_mask_pb2 import FieldMask
from malla.chat.v1 import chat_pb2 as pb

from common.client._caller import Calls, keyed
from common.client._options import request_of
from common.client._pages import pages
from common.models import Agent, AgentResponse, AgentsListResponse, DeleteAgentResponse, HandoffRule
from common.protobuf import from_message


class AgentOptions(TypedDict, total=False):
    """What an agent may have beside a name.

    Attributes:
        instructions: How it is to answer; in front of every prompt.
        model: The one it asks; empty for the configured one.
        temperature: 0 for the likeliest words, up to 2 for the most varied; None for the configured one.
        language: Language it answers in, ISO 639-1; empty for the visitor's.
        collections: Where it answers from.
        k: How many passages it answers from; 0 for the usual number.
        handoff: When it gives a conversation to a human.
    """

    instructions: str
    model: str
    temperature: float | None
    language: str
    collections: Sequence[str]
    k: int
    handoff: HandoffRule


class AgentChanges(AgentOptions, total=False):
    """What of an agent can be changed.

    Attributes:
        name: What it is called.
    """

    name: str


class AgentCalls(Calls):
    """Calls about agents."""

    async def create_agent(
        self, name: str, *, id_agente: int = 0, request_id: str = "", **options: Unpack[AgentOptions]
    ) -> Agent:
        """Creates an agent. Raises a MallaError of code NOT_FOUND for an unknown collection, ALREADY_EXISTS for a taken number.

        Args:
            name: What it is called.
            id_agente: Its number; 0 to be given one.
            request_id: Idempotency key: a repeated call with it returns the first agent.
            **options: What it may have beside.
        """
        agent = request_of(pb.Agent, {"name": name, "id_agente": id_agente, **options})
        request = pb.CreateAgentRequest(agent=agent, request_id=keyed(request_id))
        return _agent(await self._caller.unary(self._agents.CreateAgent, request))

    async def list_agents(self, *, page_size: int = 0) -> AsyncGenerator[Agent, None]:
        """Yields the agents by number, fetching page after page."""

        async def page(token: str) -> AgentsListResponse:
            request = pb.ListAgentsRequest(page_size=page_size, page_token=token)
            return from_message(AgentsListResponse, await self._caller.unary(self._agents.ListAgents, request))

        async for response in pages(page):
            for agent in response.agents:
                yield agent

    async def get_agent(self, id_agente: int) -> Agent:
        """Reads one agent. Raises a MallaError of code NOT_FOUND if there is none."""
        return _agent(await self._caller.unary(self._agents.GetAgent, pb.GetAgentRequest(id_agente=id_agente)))

    async def update_agent(self, id_agente: int, **changes: Unpack[AgentChanges]) -> Agent:
        """Changes what is named, also to nothing: `update_agent(1, collections=[])`. Returns the agent as it is then."""
        if not changes:
            return await self.get_agent(id_agente)  # an empty mask would mean "what the message holds"
        agent = request_of(pb.Agent, changes)
        request = pb.UpdateAgentRequest(id_agente=id_agente, agent=agent, update_mask=FieldMask(paths=list(changes)))
        return _agent(await self._caller.unary(self._agents.UpdateAgent, request))

    async def delete_agent(self, id_agente: int) -> DeleteAgentResponse:
        """Deletes an agent; its conversations stay. Raises a MallaError of code NOT_FOUND if there is none."""
        request = pb.DeleteAgentRequest(id_agente=id_agente)
        return from_message(DeleteAgentResponse, await self._caller.unary(self._agents.DeleteAgent, request))


def _agent(response: pb.AgentResponse) -> Agent:
    return from_message(AgentResponse, response).agent or Agent()
