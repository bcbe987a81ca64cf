"""Agents in the record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from common.store import Rows, Store
from services.query.domain.chat_records import AgentRecord


class MongoAgents:
    """Rows of `agents`, keyed by tenant and number; the last number given out is kept in `counters`."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
        key = {"_id": _key(tenant_id, id_agente)}
        return _record(await self._rows(tenant_id).update_returning(key, {"$set": fields}))

    async def delete(self, tenant_id: str, id_agente: int) -> bool:
        """Deletes an agent; False where there is none."""
        return await self._rows(tenant_id).delete({"_id": _key(tenant_id, id_agente)}) > 0

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "agents")


def _key(tenant_id: str, id_agente: int) -> str:
    return f"{tenant_id}/{id_agente}"


def _record(row: dict[str, Any] | None) -> AgentRecord | None:
    return None if row is None else AgentRecord.model_validate(row)
