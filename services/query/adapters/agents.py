"""Agents in the record."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from common.store import Rows, Store
from services.query.domain.chat_records import AgentRecord

_AT_HAND_S = 1.0
_MOST_AT_HAND = 4096


class MongoAgents:
    """Rows of `agents`, keyed by tenant and number; the last number given out is kept in `counters`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at_hand: dict[str, tuple[float, AgentRecord]] = {}
        self._changes = 0

    async def next_number(self, tenant_id: str, request_id: str, *, taken: int = 0) -> int:
        """Returns a number no agent of the tenant had; the same to a repeated request, unless it is `taken` meanwhile."""
        number = await self._count(tenant_id)
        if not request_id:
            return number
        counters = self._store.rows(tenant_id, "counters")
        key = {"_id": f"{tenant_id}/agents/{request_id}"}
        if not await counters.insert({**key, "value": number}):
            await counters.update({**key, "value": taken}, {"$set": {"value": number}})
        row = await counters.find_one(key)
        return number if row is None else int(row["value"])

    async def _count(self, tenant_id: str) -> int:
        counters = self._store.rows(tenant_id, "counters")
        key = {"_id": f"{tenant_id}/agents"}
        await counters.insert({**key, "value": 0})
        row = await counters.update_returning(key, {"$inc": {"value": 1}})
        if row is None:
            raise RuntimeError("the counter of agents vanished")
        return int(row["value"])

    async def add(self, tenant_id: str, agent: AgentRecord) -> bool:
        """Adds an agent; False where its number is taken."""
        return await self._rows(tenant_id).insert({"_id": _key(tenant_id, agent.id_agente), **agent.model_dump(mode="json")})

    async def get(self, tenant_id: str, id_agente: int) -> AgentRecord | None:
        """Returns an agent."""
        return _record(await self._rows(tenant_id).find_one({"_id": _key(tenant_id, id_agente)}))

    async def at_hand(self, tenant_id: str, id_agente: int) -> AgentRecord | None:
        """Returns an agent as it was at most a second ago: a busy one is not read for every message."""
        key, now = _key(tenant_id, id_agente), time.monotonic()
        read_at, agent = self._at_hand.get(key, (0.0, None))
        if agent is not None and now - read_at < _AT_HAND_S:
            return agent
        changes = self._changes
        agent = await self.get(tenant_id, id_agente)
        if agent is not None and changes == self._changes:
            if len(self._at_hand) >= _MOST_AT_HAND:
                self._at_hand.clear()
            self._at_hand[key] = (now, agent)
        return agent

    async def made_by(self, tenant_id: str, request_id: str) -> AgentRecord | None:
        """Returns the agent that a request created."""
        return _record(await self._rows(tenant_id).find_one({"request_id": request_id}))

    async def page(self, tenant_id: str, after: int, size: int) -> AsyncIterator[AgentRecord]:
        """Yields at most `size` agents whose number follows `after`, by number."""
        rows = self._rows(tenant_id).find({"id_agente": {"$gt": after}}, order=[("id_agente", 1)], limit=size)
        async for row in rows:
            yield AgentRecord.model_validate(row)

    async def change(self, tenant_id: str, id_agente: int, fields: dict[str, Any]) -> AgentRecord | None:
        """Changes fields of an agent and returns it; None where there is none."""
        key = _key(tenant_id, id_agente)
        changed = _record(await self._rows(tenant_id).update_returning({"_id": key}, {"$set": fields}))
        self._forget(key)
        return changed

    async def delete(self, tenant_id: str, id_agente: int) -> bool:
        """Deletes an agent; False where there is none."""
        key = _key(tenant_id, id_agente)
        deleted = await self._rows(tenant_id).delete({"_id": key}) > 0
        self._forget(key)
        return deleted

    def _forget(self, key: str) -> None:
        self._changes += 1  # a read that is under way may bring what was there before
        self._at_hand.pop(key, None)

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "agents")


def _key(tenant_id: str, id_agente: int) -> str:
    return f"{tenant_id}/{id_agente}"


def _record(row: dict[str, Any] | None) -> AgentRecord | None:
    return None if row is None else AgentRecord.model_validate(row)
