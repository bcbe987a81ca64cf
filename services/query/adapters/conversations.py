"""Conversations and turns in the record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from common.store import Rows, Store, again
from services.query.domain.chat_records import ConversationRecord, TurnRecord


class MongoConversations:
    """Rows of `conversations`, keyed by tenant and session, and of `turns`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, tenant_id: str, fresh: ConversationRecord) -> bool:
        """Stores a new conversation; False where its session has one."""
        return await self._rows(tenant_id).insert({"_id": _key(tenant_id, fresh.session_id), **fresh.model_dump(mode="json")})

    async def get(self, tenant_id: str, session_id: str) -> ConversationRecord | None:
        """Returns a conversation."""
        row = await self._rows(tenant_id).find_one({"_id": _key(tenant_id, session_id)})
        return None if row is None else ConversationRecord.model_validate(row)

    async def page(
        self, tenant_id: str, before: tuple[int, str] | None, size: int, *, handed_off: bool
    ) -> AsyncIterator[ConversationRecord]:
        """Yields at most `size` conversations, the last active first, after the one of that time and session."""
        query: dict[str, Any] = {"handed_off": True} if handed_off else {}
        pages = [query]
        if before is not None:
            # The few of the same millisecond apart from those before it: no index helps with one or the other.
            updated_at, session_id = before
            same = {"updated_at": updated_at, "session_id": {"$gt": session_id}}
            pages = [{**query, **same}, {**query, "updated_at": {"$lt": updated_at}}]
        for page in pages:
            order = [("updated_at", -1), ("session_id", 1)]
            async for row in self._rows(tenant_id).find(page, order=order, limit=size):
                yield ConversationRecord.model_validate(row)
                size -= 1
            if not size:
                return

    async def delete(self, tenant_id: str, session_id: str) -> bool:
        """Deletes a conversation with its turns; False where there is none."""
        record = await self.get(tenant_id, session_id)
        if record is None:
            return False
        # The conversation first: turns without one are out of every caller's reach.
        gone = await self._rows(tenant_id).delete({"uid": record.uid})
        await self._turns(tenant_id).delete({"conversation_uid": record.uid})
        return gone > 0

    async def take(self, tenant_id: str, session_id: str, owner: str, now_ms: int, until_ms: int) -> ConversationRecord | None:
        """Gives the right to the next turn to `owner` until `until_ms`; None while another has it, or for no such session."""
        free = {"_id": _key(tenant_id, session_id), "owned_until": {"$lte": now_ms}}
        row = await self._rows(tenant_id).update_returning(free, {"$set": {"owner": owner, "owned_until": until_ms}})
        return None if row is None else ConversationRecord.model_validate(row)

    async def change(self, tenant_id: str, uid: str, owner: str, fields: dict[str, Any]) -> bool:
        """Changes fields of a conversation whose turn `owner` has; False, and no change, where it has not."""
        wanted = {"uid": uid, "owner": owner}
        return await again(lambda: self._rows(tenant_id).update(wanted, {"$set": fields}))

    async def add_turns(self, tenant_id: str, turns: Sequence[TurnRecord]) -> None:
        """Adds the turns whose identifier is not taken."""
        rows = [turn.model_dump(mode="json", by_alias=True) for turn in turns]
        await again(lambda: self._turns(tenant_id).insert_missing(rows))

    async def get_turn(self, tenant_id: str, message_id: str) -> TurnRecord | None:
        """Returns a turn."""
        row = await self._turns(tenant_id).find_one({"_id": message_id})
        return None if row is None else TurnRecord.model_validate(row)

    async def change_turn(self, tenant_id: str, message_id: str, fields: dict[str, Any], *, owner: str = "") -> bool:
        """Changes fields of a turn; False, and no change, where there is none or, if named, `owner` does not write it."""
        wanted = {"_id": message_id, "owner": owner} if owner else {"_id": message_id}
        return await again(lambda: self._turns(tenant_id).update(wanted, {"$set": fields}))

    async def turns(self, tenant_id: str, uid: str, *, last: int, before: int = 0) -> list[TurnRecord]:
        """Returns the last turns of a conversation, of those before the one of a number where it is not 0, oldest first."""
        wanted: dict[str, Any] = {"conversation_uid": uid, **({"number": {"$lt": before}} if before else {})}
        rows = self._turns(tenant_id).find(wanted, order=[("number", -1)], limit=last)
        return [TurnRecord.model_validate(row) async for row in rows][::-1]

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "conversations")

    def _turns(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "turns")


def _key(tenant_id: str, session_id: str) -> str:
    return f"{tenant_id}/{session_id}"
