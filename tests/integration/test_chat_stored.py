"""The use case over the real record, where its reader does what no gRPC client can be made to do in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from common.context import Context
from common.errors import UnavailableError
from common.models import Agent, ChatEvent, TokenUsage, TurnState
from common.store import Store
from services.query.adapters.agents import MongoAgents
from services.query.adapters.conversations import MongoConversations
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.domain.chat_records import ConversationRecord, TurnRecord
from services.query.ports import AnswerEnd, Asking, MostTokens
from services.query.usecases.answer import Answering
from services.query.usecases.chat.agents import ManageAgents
from services.query.usecases.chat.conversations import ManageConversations
from services.query.usecases.chat.hold import ChatSpec, HoldConversation
from services.query.usecases.chat.turns import TakeTurns, TurnRules, TurnWriter
from services.query.usecases.follow import FollowCollections
from services.query.usecases.search import SearchPassages, SearchRules
from tests.fakes.accounting import LIMITS, MemoryAccounting
from tests.fakes.query import MemoryRecord, WordEmbedder
from tests.fakes.waiting import until

CTX = Context(tenant_id="acme")
FRESH = ConversationRecord(uid="u-1", session_id="s-1", id_agente=1, created_at=1, updated_at=1)
USAGE = TokenUsage(input_tokens=3, output_tokens=2, total_tokens=5, provider="fake", model="fake")


class TwoWords:
    """Answers with two words."""

    def most_tokens(self, *_: Any) -> MostTokens:
        return MostTokens(llm=100)

    async def answer(self, *_: Any) -> AsyncGenerator[str | AnswerEnd, None]:
        yield Asking("fake", "fake", 3)
        yield "dos "
        yield "palabras"
        yield AnswerEnd(model="fake", cited=(), stages=[("answer", USAGE)])


ANSWERING = Answering(TwoWords(), MemoryAccounting(), LIMITS)


async def held(store: Store, record: MemoryRecord) -> tuple[HoldConversation, MongoConversations]:
    agents, conversations = MongoAgents(store), MongoConversations(store)
    await ManageAgents(agents, record).create(Agent(name="Ana"), "", CTX)
    follow = FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=5)
    search = SearchPassages(record, WordEmbedder(), follow, SearchRules(candidates=5))
    return HoldConversation(agents, conversations, TakeTurns(conversations, TurnRules()), search, ANSWERING), conversations


@pytest.mark.parametrize("read", [1, 2, 3, 4, 5])
async def test_a_turn_is_stored_wherever_its_reader_leaves(store: Store, read: int):
    hold, conversations = await held(store, MemoryRecord())
    events = hold.stream(ChatSpec(1, "¿Qué?", "s-1"), CTX)
    seen = [await anext(events) for _ in range(read)]
    await events.aclose()
    conversation = await conversations.get("acme", "s-1")
    assert conversation is not None
    assert conversation.owner == ""
    answer: TurnRecord = (await conversations.turns("acme", conversation.uid, last=5))[1]
    assert answer.usage is not None
    text = "".join(event for event in seen if isinstance(event, str))
    if isinstance(seen[-1], ChatEvent) and not seen[-1].retrieval:
        assert (answer.state, answer.text, answer.usage.total_tokens) == (TurnState.COMPLETE, "dos palabras", 5)
        assert not answer.usage.estimated, "what was counted is not estimated again"
    else:
        assert (answer.state, answer.text) == (TurnState.CANCELLED, text)
        assert answer.usage.estimated == bool(text), "a model that was not asked took nothing"
        assert (answer.usage.output_tokens > 0) is bool(text)


class Forgetful(MongoConversations):
    """Cannot be reached at the first renewal of a lease."""

    failures = 1

    async def change(self, tenant_id: str, uid: str, owner: str, fields: dict[str, Any]) -> bool:
        if set(fields) == {"owned_until"} and self.failures:
            self.failures -= 1
            raise UnavailableError("database")
        return await super().change(tenant_id, uid, owner, fields)


async def test_a_lease_is_renewed_although_the_record_was_away(store: Store):
    conversations = Forgetful(store)
    turns = TakeTurns(conversations, TurnRules(lease_s=0.5, wait_s=0))
    async with turns.taken("s-1", CTX, FRESH) as first:
        taken_until = first.conversation.owned_until

        async def renewed() -> bool:
            row = await conversations.get("acme", "s-1")
            return row is not None and row.owned_until > taken_until

        await until(renewed, 5)
    assert conversations.failures == 0


class Busy(MongoConversations):
    """Begins a turn, or ends it, right after the conversation's row was read."""

    do: Callable[[], Awaitable[None]] | None = None

    async def get(self, tenant_id: str, session_id: str) -> ConversationRecord | None:
        row = await super().get(tenant_id, session_id)
        if self.do is not None:
            do, self.do = self.do, None
            await do()
        return row


async def test_an_answer_that_begins_while_it_is_read_has_not_failed(store: Store):
    conversations = Busy(store)
    turns = TakeTurns(conversations, TurnRules())
    assert await conversations.begin("acme", FRESH)
    async with AsyncExitStack() as stack:

        async def begin() -> None:
            held = await stack.enter_async_context(turns.taken("s-1", CTX))
            await TurnWriter(conversations, held, "k-1", CTX).begin("¿Qué?")

        conversations.do = begin
        shown, _ = await ManageConversations(conversations, turns).get("s-1", "", CTX)
        assert [turn.state for turn in shown.turns] == [TurnState.COMPLETE, TurnState.RUNNING]
    shown, _ = await ManageConversations(conversations, turns).get("s-1", "", CTX)
    assert shown.turns[1].state is TurnState.FAILED, "nobody answers it any more"


@pytest.mark.parametrize("begins", [True, False])
async def test_whoever_leaves_while_the_turn_is_taken_does_not_keep_it(
    store: Store, begins: bool, monkeypatch: pytest.MonkeyPatch
):
    conversations = MongoConversations(store)
    if not begins:
        await conversations.begin("acme", FRESH)
    name = "begin" if begins else "take"
    operation, done, gate = getattr(MongoConversations, name), asyncio.Event(), asyncio.Event()

    async def slowly(self: MongoConversations, *args: Any) -> Any:
        result = await operation(self, *args)
        if result:
            done.set()
            await gate.wait()
        return result

    monkeypatch.setattr(MongoConversations, name, slowly)
    turns = TakeTurns(conversations, TurnRules())

    async def talk() -> None:
        async with turns.taken("s-1", CTX, FRESH if begins else None):
            raise AssertionError("it was left before")

    talking = asyncio.create_task(talk())
    await done.wait()
    held = await conversations.get("acme", "s-1")
    assert held is not None
    assert held.owner
    talking.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await talking
    free = await conversations.get("acme", "s-1")
    assert free is not None
    assert (free.owner, free.owned_until) == ("", 0)
