"""Holding a conversation: a visitor's message in, an agent's answer out as events, every turn stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from common.context import Context
from common.errors import InvalidArgumentError
from common.models import ChatEvent, Done, Handoff, Retrieval, TurnRole, TurnState, Visitor
from common.store import now_ms
from services.query.chat_ports import Agents, Conversations
from services.query.domain.chat_records import AgentRecord, ConversationRecord, TurnRecord
from services.query.domain.dialogue import asks_for_person, search_text
from services.query.domain.identity import new_uid
from services.query.domain.language import language_of
from services.query.domain.prompt import PromptMessage
from services.query.ports import Answerer, Question
from services.query.usecases.answer import answer_events
from services.query.usecases.chat.agents import existing_agent
from services.query.usecases.chat.turns import Held, TakeTurns, TurnWriter
from services.query.usecases.events import Event
from services.query.usecases.search import DEFAULT_K, Found, SearchPassages, SearchSpec


@dataclass(frozen=True)
class ChatSpec:
    """A visitor's message."""

    id_agente: int
    message: str
    session_id: str
    origin: str = ""
    model: str = ""
    temperature: float | None = None
    max_tokens: int = 0
    k: int = 0
    visitor: Visitor | None = None
    request_id: str = ""


@dataclass
class Outcome:
    """What a whole exchange came to."""

    done: Done = field(default_factory=Done)
    handoff_reason: str = ""


class HoldConversation:
    """Answers visitors' messages."""

    def __init__(
        self, agents: Agents, conversations: Conversations, turns: TakeTurns, search: SearchPassages, answerer: Answerer
    ) -> None:
        self._agents = agents
        self._conversations = conversations
        self._turns = turns
        self._search = search
        self._answerer = answerer

    async def stream(self, spec: ChatSpec, ctx: Context) -> AsyncGenerator[Event, None]:
        """Yields the answer's events. What was generated is stored, also when the reader leaves or the model fails.

        Raises:
            NotFoundError: The tenant has no such agent.
            InvalidArgumentError: The message is blank.
            TurnTakenError: Another message of the conversation does not end in time.
            MallaError: What search and the answerer raise.
        """
        if not spec.message.strip():
            raise InvalidArgumentError([("mensaje", "must hold more than white space")])
        agent = await existing_agent(self._agents, ctx.tenant_id, spec.id_agente)
        async with (
            self._turns.taken(spec.session_id, ctx, _fresh(spec)) as held,
            aclosing(self._exchange(spec, agent, held, ctx)) as events,
        ):
            async for event in events:
                yield event

    async def whole(self, spec: ChatSpec, ctx: Context) -> Outcome:
        """Returns the whole answer."""
        outcome = Outcome()
        async with aclosing(self.stream(spec, ctx)) as events:
            async for event in events:
                if isinstance(event, ChatEvent):
                    outcome.done = event.done or outcome.done
                    outcome.handoff_reason = event.handoff.reason if event.handoff else outcome.handoff_reason
        return outcome

    async def _exchange(self, spec: ChatSpec, agent: AgentRecord, held: Held, ctx: Context) -> AsyncGenerator[Event, None]:
        writer = TurnWriter(self._conversations, held, spec.request_id, ctx)
        first = await writer.find_first()
        if first is not None and first.state is TurnState.COMPLETE:
            for event in _replayed(first):
                yield event
            return
        held.changes |= _newest(spec)
        history = [turn for turn in held.recent if turn.text and turn.message_id not in {writer.user_id, writer.answer_id}]
        reason = held.conversation.handoff_reason if held.conversation.handed_off else _reason_before_search(spec, agent, held)
        if reason:
            async for event in self._handed_off(reason, spec, held, writer):
                yield event
            return
        async with aclosing(self._answered(spec, agent, held, history, writer, ctx)) as events:
            async for event in events:
                yield event

    async def _answered(
        self,
        spec: ChatSpec,
        agent: AgentRecord,
        held: Held,
        history: list[TurnRecord],
        writer: TurnWriter,
        ctx: Context,
    ) -> AsyncGenerator[Event, None]:
        await writer.begin(spec.message)
        try:
            found = await self._retrieve(spec, agent, history, ctx)
            if _is_too_far(found, agent):
                async for event in self._handed_off("low_score", spec, held, writer):
                    yield event
                return
            question = _question(spec, agent, history)
            async with aclosing(answer_events(self._answerer, question, found, ctx)) as events:
                async for event in events:
                    yield await self._stored(event, writer)
        except (asyncio.CancelledError, GeneratorExit):
            await asyncio.shield(writer.cancelled())
            raise
        except Exception:
            await asyncio.shield(writer.failed())
            raise

    async def _stored(self, event: Event, writer: TurnWriter) -> Event:
        if isinstance(event, str):
            await writer.note(event)
        elif event.done is not None:
            event.done.message_id = writer.answer_id
            await writer.complete(event.done)
        return event

    async def _handed_off(self, reason: str, spec: ChatSpec, held: Held, writer: TurnWriter) -> AsyncGenerator[Event, None]:
        """The bot says nothing: the message is kept for the human who has the conversation."""
        stored_as = await writer.handed_off(spec.message, reason)
        held.changes |= {"handed_off": True, "handoff_reason": reason}
        for event in _handoff_events(stored_as, reason):
            yield event

    async def _retrieve(self, spec: ChatSpec, agent: AgentRecord, history: list[TurnRecord], ctx: Context) -> Found:
        asked = [turn.text for turn in history if turn.role is TurnRole.USER]
        query = search_text(spec.message, asked[-1] if asked else "")
        k = spec.k or agent.k or DEFAULT_K
        language = agent.language or language_of(spec.message)
        return await self._search.across(agent.collections, SearchSpec("", query, k), language, ctx)


def _fresh(spec: ChatSpec) -> ConversationRecord:
    now = now_ms()
    return ConversationRecord(
        uid=new_uid(),
        session_id=spec.session_id,
        id_agente=spec.id_agente,
        origin=spec.origin,
        visitor=spec.visitor,
        created_at=now,
        updated_at=now,
    )


def _newest(spec: ChatSpec) -> dict[str, Any]:
    """What a conversation takes over from its last message."""
    fields: dict[str, Any] = {"id_agente": spec.id_agente}
    if spec.origin:
        fields["origin"] = spec.origin
    if spec.visitor is not None:
        fields["visitor"] = spec.visitor.model_dump(mode="json")
    return fields


def _reason_before_search(spec: ChatSpec, agent: AgentRecord, held: Held) -> str:
    rule = agent.handoff
    if rule.on_request and asks_for_person(spec.message):
        return "requested"
    if rule.max_failures and held.conversation.failures >= rule.max_failures:
        return "failures"
    return ""


def _is_too_far(found: Found, agent: AgentRecord) -> bool:
    return agent.handoff.min_score > 0 and bool(agent.collections) and found.nearest < agent.handoff.min_score


def _question(spec: ChatSpec, agent: AgentRecord, history: list[TurnRecord]) -> Question:
    return Question(
        text=spec.message,
        language=agent.language or language_of(spec.message),
        model=spec.model or agent.model,
        temperature=spec.temperature if spec.temperature is not None else agent.temperature,
        max_tokens=spec.max_tokens,
        instructions=agent.instructions,
        history=[PromptMessage("user" if turn.role is TurnRole.USER else "assistant", turn.text) for turn in history],
    )


def _handoff_events(message_id: str, reason: str, **facts: bool) -> list[Event]:
    done = Done(message_id=message_id, finish_reason="handoff", metadata={"handoff": reason, **facts})
    return [ChatEvent(handoff=Handoff(reason=reason)), ChatEvent(done=done)]


def _replayed(turn: TurnRecord) -> list[Event]:
    if turn.handoff_reason:
        return _handoff_events(turn.message_id, turn.handoff_reason, replayed=True)
    done = Done(
        message_id=turn.message_id,
        answer=turn.text,
        finish_reason=turn.finish_reason,
        model=turn.model,
        citations=turn.citations,
        usage=turn.usage,
        metadata={"replayed": True},
    )
    events: list[Event] = [ChatEvent(retrieval=Retrieval(citations=turn.citations))]
    if turn.text:
        events.append(turn.text)
    if turn.usage is not None:
        events.append(ChatEvent(usage=turn.usage))
    return [*events, ChatEvent(done=done)]
