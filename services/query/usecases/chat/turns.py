"""Taking turns: one call at a time writes to a conversation, and a turn is stored before, while and after it is answered."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from common.context import Context
from common.errors import Code, MallaError
from common.models import Done, TokenUsage, TurnRole, TurnState
from common.store import now_ms
from services.query.chat_ports import Conversations
from services.query.domain.chat_records import ConversationRecord, TurnRecord
from services.query.domain.prompt import estimate_tokens

_POLL_S = 0.05
_SAVE_EVERY_S = 1.0


class TurnTakenError(MallaError):
    """Another turn of the conversation runs and did not end in time."""

    code = Code.ABORTED
    reason = "CONVERSATION_BUSY"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"Another message of conversation '{session_id}' is being answered. Wait for its `done`, then send this one.",
            details={"session_id": session_id},
            retry_after_s=1.0,
        )


@dataclass(frozen=True)
class TurnRules:
    """How turns are taken.

    Attributes:
        lease_s: Seconds after which the turn of a server that went silent is free.
        wait_s: Seconds a message waits for the one before it.
    """

    lease_s: float = 10.0
    wait_s: float = 30.0


class TakeTurns:
    """Gives the right to a conversation's next turn to one call at a time."""

    def __init__(self, conversations: Conversations, rules: TurnRules) -> None:
        self._conversations = conversations
        self._rules = rules

    @asynccontextmanager
    async def taken(self, conversation: ConversationRecord, ctx: Context) -> AsyncIterator[ConversationRecord]:
        """Holds the turn while the block runs. Yields the conversation as it is now.

        Turns that a dead server left running are marked as failed first. Raises TurnTakenError when it is not free in time.
        """
        held = await self._take(conversation, ctx)
        keeper = asyncio.create_task(self._keep(held, ctx), name=f"turn-{held.uid}")
        try:
            await self._settle(held, ctx)
            yield held
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await asyncio.shield(self._change(held, ctx, owner="", owned_until=0))

    async def _take(self, conversation: ConversationRecord, ctx: Context) -> ConversationRecord:
        owner = uuid.uuid4().hex
        give_up = time.monotonic() + ctx.remaining_s(self._rules.wait_s)
        while True:
            now = now_ms()
            held = await self._conversations.take(ctx.tenant_id, conversation.uid, owner, now, now + self._lease_ms)
            if held is not None:
                return held
            if time.monotonic() + _POLL_S > give_up:
                raise TurnTakenError(conversation.session_id)
            await asyncio.sleep(_POLL_S)  # the turn may be another server's: the record is the one place that knows

    async def _keep(self, held: ConversationRecord, ctx: Context) -> None:
        while True:
            await asyncio.sleep(self._rules.lease_s / 3)
            await self._change(held, ctx, owned_until=now_ms() + self._lease_ms)

    async def _settle(self, held: ConversationRecord, ctx: Context) -> None:
        for turn in await self._conversations.turns(ctx.tenant_id, held.uid, last=2):
            if turn.state is TurnState.RUNNING:
                failed = {"state": TurnState.FAILED.value, "finish_reason": "error"}
                await self._conversations.change_turn(ctx.tenant_id, turn.message_id, failed)

    async def _change(self, held: ConversationRecord, ctx: Context, **fields: Any) -> None:
        await self._conversations.change(ctx.tenant_id, held.uid, held.owner, fields)

    @property
    def _lease_ms(self) -> int:
        return int(self._rules.lease_s * 1000)


class TurnWriter:
    """Stores the turns of one exchange, under a held turn."""

    def __init__(self, conversations: Conversations, held: ConversationRecord, key: str, ctx: Context) -> None:
        self._conversations = conversations
        self._held = held
        self._ctx = ctx
        self._began = time.monotonic()
        self._saved = self._began
        self._pieces: list[str] = []
        self.user_id = message_id(held.uid, key, "u")
        self.answer_id = message_id(held.uid, key, "a")

    async def begin(self, text: str) -> None:
        """Stores the visitor's message, and the answer as running; both only once for a repeated message."""
        await self._add(self.user_id, TurnRole.USER, TurnState.COMPLETE, text)
        if not await self._add(self.answer_id, TurnRole.ASSISTANT, TurnState.RUNNING, ""):
            await self._change(state=TurnState.RUNNING.value, finish_reason="", text="")

    async def only_user(self, text: str) -> None:
        """Stores the visitor's message to a human."""
        await self._add(self.user_id, TurnRole.USER, TurnState.COMPLETE, text)

    async def note(self, piece: str) -> None:
        """Remembers a piece of the answer; what is there is stored every second, for a server that dies."""
        self._pieces.append(piece)
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._saved = time.monotonic()
            await self._change(text="".join(self._pieces))

    async def complete(self, done: Done) -> None:
        """Stores the whole answer, durably, before anyone is told that it is done."""
        await self._end(
            TurnState.COMPLETE,
            done.finish_reason,
            text=done.answer,
            model=done.model,
            citations=[citation.model_dump(mode="json") for citation in done.citations],
            usage=None if done.usage is None else done.usage.model_dump(mode="json"),
        )
        await self._note_failures(0)

    async def cancelled(self) -> None:
        """Stores what was generated until the visitor left."""
        await self._cut(TurnState.CANCELLED, "cancelled")

    async def failed(self) -> None:
        """Stores what was generated until the failure."""
        await self._cut(TurnState.FAILED, "error")
        await self._note_failures(self._held.failures + 1)

    async def _cut(self, state: TurnState, finish_reason: str) -> None:
        text = "".join(self._pieces)
        # The provider's count comes with the end that did not come.
        tokens = estimate_tokens(text) if text else 0
        usage = TokenUsage(output_tokens=tokens, total_tokens=tokens, estimated=True)
        await self._end(state, finish_reason, text=text, usage=usage.model_dump(mode="json"))

    async def _add(self, identifier: str, role: TurnRole, state: TurnState, text: str) -> bool:
        turn = TurnRecord(
            _id=identifier,
            conversation_uid=self._held.uid,
            number=self._held.turn_count + 1,
            role=role,
            text=text,
            state=state,
            created_at=now_ms(),
        )
        if not await self._conversations.add_turn(self._ctx.tenant_id, turn):
            return False
        self._held.turn_count += 1
        fields = {"turn_count": self._held.turn_count, "updated_at": turn.created_at}
        await self._conversations.change(self._ctx.tenant_id, self._held.uid, self._held.owner, fields)
        return True

    async def _end(self, state: TurnState, finish_reason: str, **fields: Any) -> None:
        latency_ms = int((time.monotonic() - self._began) * 1000)
        await self._change(state=state.value, finish_reason=finish_reason, latency_ms=latency_ms, **fields)

    async def _note_failures(self, failures: int) -> None:
        if failures != self._held.failures:
            fields = {"failures": failures}
            await self._conversations.change(self._ctx.tenant_id, self._held.uid, self._held.owner, fields)

    async def _change(self, **fields: Any) -> None:
        await self._conversations.change_turn(self._ctx.tenant_id, self.answer_id, fields)


def message_id(conversation_uid: str, key: str, side: str) -> str:
    """Returns a turn's identifier: the same for a repeated message, random where the message has no key."""
    name = f"{conversation_uid}/{key}" if key else uuid.uuid4().hex
    return f"msg-{uuid.uuid5(uuid.NAMESPACE_OID, name).hex}-{side}"
