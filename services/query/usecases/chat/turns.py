"""Taking turns: one call at a time writes to a conversation, and a turn is stored before, while and after it is answered."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from common.context import Context
from common.errors import Code, MallaError
from common.models import Done, TokenUsage, TurnRole, TurnState
from common.store import now_ms
from common.tasks import finished
from services.query.chat_ports import Conversations
from services.query.domain.chat_records import ConversationRecord, TurnRecord
from services.query.usecases.lease import Lease, kept
from services.query.usecases.lines import Lines

_POLL_S = 0.05
_SAVE_EVERY_S = 2.0
_RECENT_TURNS = 12
_MOST_SEEN = 100_000


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


class TurnLostError(MallaError):
    """The conversation's turn went to another call while this one answered."""

    code = Code.ABORTED
    reason = "TURN_LOST"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"The answer was stopped: another message of conversation '{session_id}' has the turn, because this server was "
            "silent for too long. Read the conversation, then send the message again.",
            details={"session_id": session_id},
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


@dataclass
class Held:
    """A conversation whose turn is ours.

    Attributes:
        recent: The last turns, oldest first.
        whole: Whether these are all turns.
        changes: Fields of the conversation that change when the turn is given back.
        lease: The right to the turn, for what is done under it.
        save: Stores the changes at once, for what is told before the turn is given back. Raises TurnLostError.
    """

    conversation: ConversationRecord
    recent: list[TurnRecord]
    lease: Lease
    save: Callable[[], Awaitable[None]]
    whole: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def next_number(self) -> int:
        """The number of the next turn. The turns tell, not the conversation's row: a server may have died between them."""
        return self.recent[-1].number + 1 if self.recent else 1

    def added(self, turns: Sequence[TurnRecord]) -> None:
        """Notes turns that were stored."""
        self.recent.extend(turns)
        self.changes |= {"turn_count": self.recent[-1].number, "updated_at": self.recent[-1].created_at}


class TakeTurns:
    """Gives the right to a conversation's next turn to one call at a time."""

    def __init__(self, conversations: Conversations, rules: TurnRules) -> None:
        self._conversations = conversations
        self._rules = rules
        self._seen: set[tuple[str, str]] = set()
        self._lines = Lines()

    @asynccontextmanager
    async def taken(self, session_id: str, ctx: Context, fresh: ConversationRecord | None = None) -> AsyncIterator[Held]:
        """Holds the turn of a session's conversation while the block runs; `fresh` begins where the session has none.

        Turns that a dead server left running are marked as failed first. Raises TurnTakenError when it is not free in time.
        """
        taken, is_new = await self._take(session_id, fresh, ctx)

        async def renew() -> bool:
            if await self._change(taken, ctx, owned_until=now_ms() + self._lease_ms):
                return True
            # Whose conversation was deleted in the middle may hear the end of the answer; it is not written anywhere.
            there = await self._conversations.get(ctx.tenant_id, session_id)
            return there is None or there.uid != taken.uid

        changes: dict[str, Any] = {}
        try:
            async with kept(renew, self._rules.lease_s, TurnLostError(session_id)) as lease:
                recent = [] if is_new else await self._recent(taken, ctx)

                async def save() -> None:
                    if not await self._change(taken, ctx, **changes):
                        await lease.check()

                yield Held(taken, recent, lease, save, whole=len(recent) < _RECENT_TURNS, changes=changes)
        finally:
            await finished(self._change(taken, ctx, **changes, owner="", owned_until=0))

    async def _recent(self, taken: ConversationRecord, ctx: Context) -> list[TurnRecord]:
        turns = await self._conversations.turns(ctx.tenant_id, taken.uid, last=_RECENT_TURNS)
        return [await self._settled(turn, taken.owner, ctx) for turn in turns]

    async def _take(self, session_id: str, fresh: ConversationRecord | None, ctx: Context) -> tuple[ConversationRecord, bool]:
        """Returns the conversation, and whether it begins."""
        give_up = time.monotonic() + ctx.remaining_s(self._rules.wait_s)
        async with self._lines.first((ctx.tenant_id, session_id), give_up, TurnTakenError(session_id)):
            return await self._take_at_the_record(session_id, fresh, ctx, give_up)

    async def _take_at_the_record(
        self, session_id: str, fresh: ConversationRecord | None, ctx: Context, give_up: float
    ) -> tuple[ConversationRecord, bool]:
        owner = uuid.uuid4().hex
        seen = (ctx.tenant_id, session_id) in self._seen
        while True:
            now = now_ms()
            until = now + self._lease_ms
            # One trip to the record mostly suffices: a session that this server has not seen begins, one it has seen goes on.
            for begin in (False, True) if seen else (True, False):
                if not begin:
                    taking = self._conversations.take(ctx.tenant_id, session_id, owner, now, until)
                elif fresh is not None:
                    taking = self._begun(fresh.model_copy(update={"owner": owner, "owned_until": until}), ctx)
                else:
                    continue
                held = await self._given_back_if_left(taking, ctx)
                if held is not None:
                    self._note_seen(ctx.tenant_id, session_id)
                    return held, begin
            if time.monotonic() + _POLL_S > give_up:
                raise TurnTakenError(session_id)
            await asyncio.sleep(_POLL_S)  # the turn may be another server's: the record is the one place that knows

    async def _begun(self, fresh: ConversationRecord, ctx: Context) -> ConversationRecord | None:
        return fresh if await self._conversations.begin(ctx.tenant_id, fresh) else None

    async def _given_back_if_left(
        self, taking: Coroutine[Any, Any, ConversationRecord | None], ctx: Context
    ) -> ConversationRecord | None:
        """Returns what was taken; whoever left while it was taken would hold it until its lease ends."""
        task = asyncio.ensure_future(taking)
        try:
            return await finished(task)
        except asyncio.CancelledError:
            if not task.cancelled() and task.exception() is None and (taken := task.result()) is not None:
                await finished(self._change(taken, ctx, owner="", owned_until=0))
            raise

    def _note_seen(self, tenant_id: str, session_id: str) -> None:
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen.add((tenant_id, session_id))

    async def _settled(self, turn: TurnRecord, owner: str, ctx: Context) -> TurnRecord:
        settled = turn.settled()
        if settled is not turn:
            fields = {"state": settled.state.value, "finish_reason": settled.finish_reason, "owner": owner}
            await self._conversations.change_turn(ctx.tenant_id, turn.message_id, fields)
        return settled

    async def _change(self, taken: ConversationRecord, ctx: Context, **fields: Any) -> bool:
        return await self._conversations.change(ctx.tenant_id, taken.uid, taken.owner, fields)

    @property
    def _lease_ms(self) -> int:
        return int(self._rules.lease_s * 1000)


class TurnWriter:
    """Stores the turns of one exchange, under a held turn."""

    def __init__(self, conversations: Conversations, held: Held, key: str, ctx: Context) -> None:
        self._conversations = conversations
        self._held = held
        self._ctx = ctx
        self._key = key
        self._owner = held.conversation.owner
        self.first: TurnRecord | None = None
        self.tries = 1
        self._began = time.monotonic()
        self._saved = self._began
        self._pieces: list[str] = []
        self._begun = False
        self._ended = False
        uid = held.conversation.uid
        self.user_id = message_id(uid, key, "u")
        self.answer_id = message_id(uid, key, "a")

    async def find_first(self) -> TurnRecord | None:
        """Returns the turn a message with this key led to before: its answer, or itself where a human got it.

        None for a new message, or one without a key.
        """
        if not self._key:
            return None
        self.first = await self._known(self.answer_id)
        if self.first is not None:
            return self.first
        asked = await self._known(self.user_id)
        return asked if asked is not None and asked.handoff_reason else None

    async def begin(self, text: str) -> None:
        """Stores the visitor's message, and the answer as running; once only for a repeated message."""
        if self.first is not None:
            self.tries = self.first.tries + 1
            await self._change(state=TurnState.RUNNING.value, finish_reason="", text="", owner=self._owner, tries=self.tries)
            self._begun = True
            return
        self._begun = True
        await self._add(
            (self.user_id, TurnRole.USER, TurnState.COMPLETE, text), (self.answer_id, TurnRole.ASSISTANT, TurnState.RUNNING, "")
        )

    async def handed_off(self, text: str, reason: str) -> str:
        """Stores that a human got the visitor's message, and returns the identifier of the turn that says so."""
        if self._begun or self.first is not None:
            await self._end(TurnState.COMPLETE, "handoff", text="", handoff_reason=reason)
            return self.answer_id
        await self._add((self.user_id, TurnRole.USER, TurnState.COMPLETE, text), handoff_reason=reason)
        return self.user_id

    async def note(self, piece: str) -> None:
        """Remembers a piece of the answer; what is there is stored every two seconds, for a server that dies.

        Raises TurnLostError where that shows that the turn is another call's.
        """
        self._pieces.append(piece)
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._saved = time.monotonic()
            if not await self._change(text="".join(self._pieces)):
                await self._held.lease.check()

    async def complete(self, done: Done) -> None:
        """Stores the whole answer, durably, before anyone is told that it is done. Raises TurnLostError."""
        done.message_id = self.answer_id
        stored = await self._end(
            TurnState.COMPLETE,
            done.finish_reason,
            text=done.answer,
            model=done.model,
            citations=[citation.model_dump(mode="json") for citation in done.citations],
            usage=None if done.usage is None else done.usage.model_dump(mode="json"),
        )
        if not stored:
            await self._held.lease.check()
        self._note_failures(0)

    async def cancelled(self, usage: TokenUsage) -> None:
        """Stores what was generated until the visitor left, and what it took."""
        await self._cut(TurnState.CANCELLED, "cancelled", usage)

    async def failed(self, usage: TokenUsage) -> None:
        """Stores what was generated until the failure, and what it took."""
        await self._cut(TurnState.FAILED, "error", usage)
        self._note_failures(self._held.conversation.failures + 1)

    async def _cut(self, state: TurnState, finish_reason: str, usage: TokenUsage) -> None:
        if self._ended:
            return  # The reader left with the whole answer stored.
        await self._end(state, finish_reason, text="".join(self._pieces), usage=usage.model_dump(mode="json"))

    async def _known(self, identifier: str) -> TurnRecord | None:
        return await known_turn(self._conversations, self._held, identifier, self._ctx)

    async def _add(self, *rows: tuple[str, TurnRole, TurnState, str], handoff_reason: str = "") -> None:
        number, now = self._held.next_number, now_ms()
        turns = [
            TurnRecord(
                _id=identifier,
                conversation_uid=self._held.conversation.uid,
                number=number + i,
                role=role,
                text=text,
                state=state,
                handoff_reason=handoff_reason,
                owner=self._owner,
                created_at=now,
            )
            for i, (identifier, role, state, text) in enumerate(rows)
        ]
        await self._conversations.add_turns(self._ctx.tenant_id, turns)
        self._held.added(turns)

    async def _end(self, state: TurnState, finish_reason: str, **fields: Any) -> bool:
        latency_ms = int((time.monotonic() - self._began) * 1000)
        stored = await self._change(state=state.value, finish_reason=finish_reason, latency_ms=latency_ms, **fields)
        self._ended = True
        return stored

    def _note_failures(self, failures: int) -> None:
        if failures != self._held.conversation.failures:
            self._held.changes["failures"] = failures

    async def _change(self, **fields: Any) -> bool:
        """Changes the answer's turn; False where another call has taken it. Before it is begun it is nobody's."""
        owner = self._owner if self._begun else ""
        return await self._conversations.change_turn(self._ctx.tenant_id, self.answer_id, fields, owner=owner)


async def known_turn(conversations: Conversations, held: Held, identifier: str, ctx: Context) -> TurnRecord | None:
    """Returns a turn of a held conversation; asks the record only where the recent turns cannot tell."""
    for turn in held.recent:
        if turn.message_id == identifier:
            return turn
    return None if held.whole else await conversations.get_turn(ctx.tenant_id, identifier)


def message_id(conversation_uid: str, key: str, side: str) -> str:
    """Returns a turn's identifier: the same for a repeated message, random where the message has no key."""
    name = f"{conversation_uid}/{key}" if key else uuid.uuid4().hex
    return f"msg-{uuid.uuid5(uuid.NAMESPACE_OID, name).hex}-{side}"
