"""Conversations: listed, read, deleted, handed to a human and back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from common.context import Context
from common.errors import Code, InvalidArgumentError, MallaError, NotFoundError
from common.models import Conversation, Turn, TurnRole, TurnState
from common.paging import DEFAULT_PAGE_SIZE, filled, from_page_token, to_page_token
from common.store import now_ms
from services.query.chat_ports import Conversations
from services.query.domain.chat_records import ConversationRecord, TurnRecord
from services.query.usecases.chat.turns import TakeTurns, known_turn, message_id

_LATEST_MS = 2**53
_MOST_TURNS = 1000


class NotHandedOffError(MallaError):
    """The bot has the conversation."""

    code = Code.FAILED_PRECONDITION
    reason = "NOT_HANDED_OFF"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"The bot has conversation '{session_id}'. Hand it off first: POST /api/v1/conversations/{session_id}:handoff.",
            details={"session_id": session_id},
        )


class ManageConversations:
    """What a call centre does with its conversations."""

    def __init__(self, conversations: Conversations, turns: TakeTurns) -> None:
        self._conversations = conversations
        self._turns = turns

    async def get(self, session_id: str, page_token: str, ctx: Context) -> tuple[Conversation, str]:
        """Returns a conversation with its newest turns, as many as fit in a message, and the token of those before them.

        Raises NotFoundError, and InvalidArgumentError for a foreign token.
        """
        before = _number(from_page_token(page_token))
        record, turns, is_more = await self._read(session_id, before, ctx)
        left = _left_running(record, turns)
        if left:
            # A turn may have begun or ended between the two reads: only what stands alike twice was left by its server. Whoever
            # takes the next turn stores what is shown here.
            record, turns, is_more = await self._read(session_id, before, ctx)
            left &= _left_running(record, turns)
        shown = record.view([turn.settled() if turn.message_id in left else turn for turn in turns])
        return shown, to_page_token(str(turns[0].number)) if is_more else ""

    async def page(self, page_size: int, page_token: str, handed_off: bool, ctx: Context) -> tuple[list[Conversation], str]:
        """Returns a page of conversations and the token of the next. Raises InvalidArgumentError for a foreign token."""
        size = page_size or DEFAULT_PAGE_SIZE
        before = _place(from_page_token(page_token))

        def read(last: ConversationRecord | None, count: int) -> AsyncIterator[ConversationRecord]:
            place = before if last is None else (last.updated_at, last.session_id)
            return self._conversations.page(ctx.tenant_id, place, count, handed_off=handed_off)

        found, is_more = await filled(read, size)
        token = to_page_token(json.dumps([found[-1].updated_at, found[-1].session_id])) if is_more else ""
        return [record.view() for record in found], token

    async def delete(self, session_id: str, ctx: Context) -> None:
        """Deletes a conversation. Raises NotFoundError."""
        if not await self._conversations.delete(ctx.tenant_id, session_id):
            await self._existing(session_id, ctx)

    async def hand_off(self, session_id: str, reason: str, ctx: Context) -> tuple[Conversation, str]:
        """Gives a conversation to a human. Raises NotFoundError, and TurnTakenError while the bot answers."""
        return await self._change(session_id, {"handed_off": True, "handoff_reason": reason or "requested"}, ctx)

    async def hand_back(self, session_id: str, ctx: Context) -> tuple[Conversation, str]:
        """Gives a conversation back to the bot. Raises NotFoundError."""
        return await self._change(session_id, {"handed_off": False, "handoff_reason": "", "failures": 0}, ctx)

    async def add_turn(self, session_id: str, text: str, author: str, request_id: str, ctx: Context) -> Turn:
        """Stores what a human said. Raises NotFoundError, NotHandedOffError."""
        if not text.strip():
            raise InvalidArgumentError([("mensaje", "must hold more than white space")])
        async with self._turns.taken((await self._existing(session_id, ctx)).session_id, ctx) as held:
            if not held.conversation.handed_off:
                raise NotHandedOffError(session_id)
            turn = TurnRecord(
                _id=message_id(held.conversation.uid, request_id, "h"),
                conversation_uid=held.conversation.uid,
                number=held.next_number,
                role=TurnRole.HUMAN,
                text=text,
                author=author,
                created_at=now_ms(),
            )
            first = await known_turn(self._conversations, held, turn.message_id, ctx) if request_id else None
            if first is None:
                await self._conversations.add_turns(ctx.tenant_id, [turn])
                held.added([turn])
            return (first or turn).view()

    async def _change(self, session_id: str, fields: dict[str, object], ctx: Context) -> tuple[Conversation, str]:
        async with self._turns.taken((await self._existing(session_id, ctx)).session_id, ctx) as held:
            held.changes |= {**fields, "updated_at": now_ms()}
            await held.save()
        return await self.get(session_id, "", ctx)

    async def _read(self, session_id: str, before: int, ctx: Context) -> tuple[ConversationRecord, list[TurnRecord], bool]:
        record = await self._existing(session_id, ctx)

        async def read(last: TurnRecord | None, count: int) -> AsyncIterator[TurnRecord]:
            place = before if last is None else last.number
            for turn in reversed(await self._conversations.turns(ctx.tenant_id, record.uid, last=count, before=place)):
                yield turn

        newest_first, is_more = await filled(read, _MOST_TURNS)
        return record, newest_first[::-1], is_more

    async def _existing(self, session_id: str, ctx: Context) -> ConversationRecord:
        record = await self._conversations.get(ctx.tenant_id, session_id)
        if record is None:
            raise NotFoundError("conversation", session_id, "GET /api/v1/conversations lists them.")
        return record


def _left_running(record: ConversationRecord, turns: list[TurnRecord]) -> set[str]:
    """Returns the identifiers of the turns that run although nobody has the conversation's turn."""
    if record.owned_until >= now_ms():
        return set()
    return {turn.message_id for turn in turns if turn.state is TurnState.RUNNING}


def _number(token: str) -> int:
    """Returns the number of the turn before which a page ends; 0 for none."""
    if token and not (token.isascii() and token.isdecimal() and 0 < int(token) <= _LATEST_MS):
        raise InvalidArgumentError([("page_token", "must be the next_page_token of an earlier page")])
    return int(token or 0)


def _place(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    try:
        updated_at, session_id = json.loads(token)
        name = str(session_id)
        name.encode()  # JSON can say half a character, which no record has
        return max(0, min(int(updated_at), _LATEST_MS)), name
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidArgumentError([("page_token", "must be the next_page_token of an earlier page")]) from error
