"""First answers in the record, for as long as their keys may be repeated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.errors import MallaError
from common.models import Done
from common.store import Rows, Store, now_ms
from common.tasks import stop

log = logging.getLogger("malla.query")

_SWEEP_S = 300.0


class MongoFirstAnswers:
    """Rows of `answers`, one a key. `until` ends the right of the owner, and, once the answer is there, its life."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def claim(self, tenant_id: str, key: str, owner: str, now_ms: int, until_ms: int) -> bool:
        """Gives the right to answer to `owner`; False while another has it or an answer is there."""
        rows, fields = self._rows(tenant_id), {"owner": owner, "until": until_ms, "done": ""}
        if await rows.insert({"_id": _id(tenant_id, key), **fields}):
            return True
        return await rows.update({"_id": _id(tenant_id, key), "until": {"$lte": now_ms}}, {"$set": fields})

    async def renew(self, tenant_id: str, key: str, owner: str, until_ms: int) -> bool:
        """Makes the right of `owner` last longer; False where another has it."""
        return await self._change(tenant_id, key, owner, until=until_ms)

    async def find(self, tenant_id: str, key: str, now_ms: int) -> Done | None:
        """Returns the first answer."""
        row = await self._rows(tenant_id).find_one({"_id": _id(tenant_id, key), "until": {"$gt": now_ms}})
        return Done.model_validate_json(row["done"]) if row and row["done"] else None

    async def keep(self, tenant_id: str, key: str, owner: str, done: Done, until_ms: int) -> bool:
        """Keeps the answer of `owner`; False where another has the right."""
        return await self._change(tenant_id, key, owner, done=done.model_dump_json(), until=until_ms)

    async def release(self, tenant_id: str, key: str, owner: str) -> None:
        """Ends the right of `owner`, who has no answer."""
        await self._rows(tenant_id).delete({"_id": _id(tenant_id, key), "owner": owner, "done": ""})

    async def sweep(self) -> int:
        """Deletes what is over, of all tenants; returns how many rows."""
        return await self._store.all_tenants("answers").delete({"until": {"$lte": now_ms()}})

    async def _change(self, tenant_id: str, key: str, owner: str, **fields: int | str) -> bool:
        mine = {"_id": _id(tenant_id, key), "owner": owner, "done": ""}
        return await self._rows(tenant_id).update(mine, {"$set": fields})

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "answers")


@asynccontextmanager
async def swept_answers(store: Store) -> AsyncIterator[MongoFirstAnswers]:
    """Yields the first answers, and deletes those that are over every few minutes."""
    answers = MongoFirstAnswers(store)
    sweeper = asyncio.create_task(_sweep(answers), name="answers-sweep")
    try:
        yield answers
    finally:
        await stop([sweeper])


async def _sweep(answers: MongoFirstAnswers) -> None:
    while True:
        try:
            await answers.sweep()
        except MallaError as error:
            log.info("old answers were not deleted: %s", error.reason)
        await asyncio.sleep(_SWEEP_S)


def _id(tenant_id: str, key: str) -> str:
    return f"{tenant_id}/{key}"
