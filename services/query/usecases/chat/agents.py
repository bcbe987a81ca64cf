"""Agents: created, read, listed, changed, deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from common.context import Context
from common.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from common.models import Agent, HandoffRule
from common.paging import DEFAULT_PAGE_SIZE, filled, from_page_token, to_page_token
from common.store import now_ms
from services.query.chat_ports import Agents
from services.query.domain.chat_records import AgentRecord
from services.query.ports import Record

_FIXED = {"id_agente", "created_at", "updated_at"}
CHANGEABLE = tuple(name for name in Agent.model_fields if name not in _FIXED)

_USUAL_RULE = HandoffRule(on_request=True)
_LARGEST_NUMBER = 2**31 - 1


async def existing_agent(agents: Agents, tenant_id: str, id_agente: int, *, at_hand: bool = False) -> AgentRecord:
    """Returns an agent, where it is `at_hand` as it was at most a second ago. Raises NotFoundError."""
    agent = await (agents.at_hand if at_hand else agents.get)(tenant_id, id_agente)
    if agent is None:
        raise NotFoundError("agent", str(id_agente), "GET /api/v1/agents lists them; POST /api/v1/agents creates one.")
    return agent


class ManageAgents:
    """What a tenant does with its agents."""

    def __init__(self, agents: Agents, record: Record) -> None:
        self._agents = agents
        self._record = record

    async def create(self, agent: Agent, request_id: str, ctx: Context) -> Agent:
        """Creates an agent. Raises AlreadyExistsError for a taken number, NotFoundError for an unknown collection."""
        if request_id and (first := await self._agents.made_by(ctx.tenant_id, request_id)) is not None:
            return first.view()
        _check_name(agent)
        await self._check_collections(agent.collections, ctx)
        now = now_ms()
        record = AgentRecord(
            **agent.model_dump(include={*CHANGEABLE} - {"handoff"}),
            id_agente=agent.id_agente or await self._agents.next_number(ctx.tenant_id, request_id),
            handoff=agent.handoff or _USUAL_RULE,
            request_id=request_id,
            created_at=now,
            updated_at=now,
        )
        while not await self._agents.add(ctx.tenant_id, record):
            if request_id and (first := await self._agents.made_by(ctx.tenant_id, request_id)) is not None:
                return first.view()
            if agent.id_agente:
                raise AlreadyExistsError("agent", str(agent.id_agente))
            # Someone chose the number that the counter had come to.
            record.id_agente = await self._agents.next_number(ctx.tenant_id, request_id, taken=record.id_agente)
        return record.view()

    async def get(self, id_agente: int, ctx: Context) -> Agent:
        """Returns an agent. Raises NotFoundError."""
        return (await existing_agent(self._agents, ctx.tenant_id, id_agente)).view()

    async def page(self, page_size: int, page_token: str, ctx: Context) -> tuple[list[Agent], str]:
        """Returns a page of agents and the token of the next. Raises InvalidArgumentError for a foreign token."""
        size = page_size or DEFAULT_PAGE_SIZE
        after = from_page_token(page_token) or "0"
        if not after.isdecimal() or int(after) > _LARGEST_NUMBER:
            raise InvalidArgumentError([("page_token", "must be the next_page_token of an earlier page")])

        def read(last: AgentRecord | None, count: int) -> AsyncIterator[AgentRecord]:
            return self._agents.page(ctx.tenant_id, int(after) if last is None else last.id_agente, count)

        found, is_more = await filled(read, size)
        return [agent.view() for agent in found], to_page_token(str(found[-1].id_agente)) if is_more else ""

    async def change(self, id_agente: int, agent: Agent, names: Sequence[str], ctx: Context) -> Agent:
        """Changes the named fields. Raises NotFoundError, and InvalidArgumentError for a field that cannot be changed."""
        wrong = [name for name in names if name not in CHANGEABLE]
        if wrong:
            raise InvalidArgumentError(("update_mask", f"'{name}' is not one of {', '.join(CHANGEABLE)}") for name in wrong)
        if "name" in names:
            _check_name(agent)
        if "collections" in names:
            await self._check_collections(agent.collections, ctx)
        agent = agent.model_copy(update={"handoff": agent.handoff or _USUAL_RULE})
        fields: dict[str, Any] = {name: value for name, value in agent.model_dump(mode="json").items() if name in names}
        changed = await self._agents.change(ctx.tenant_id, id_agente, {**fields, "updated_at": now_ms()})
        if changed is None:
            return (await existing_agent(self._agents, ctx.tenant_id, id_agente)).view()
        return changed.view()

    async def delete(self, id_agente: int, ctx: Context) -> None:
        """Deletes an agent. Raises NotFoundError."""
        if not await self._agents.delete(ctx.tenant_id, id_agente):
            await existing_agent(self._agents, ctx.tenant_id, id_agente)

    async def _check_collections(self, names: Sequence[str], ctx: Context) -> None:
        for name in names:
            if await self._record.collection(ctx.tenant_id, name) is None:
                raise NotFoundError("collection", name, "Create it with POST /api/v1/collections before an agent uses it.")


def _check_name(agent: Agent) -> None:
    if not agent.name.strip():
        raise InvalidArgumentError([("name", "must hold more than white space")])
