"""Holding a conversation: a visitor's message in, an agent's answer out as events, every turn stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from common.context import Context
from common.errors import InvalidArgumentError, MallaError
from common.models import ChatEvent, Done, Handoff, Retrieval, TokenUsage, TurnRole, TurnState, Visitor
from common.store import now_ms
from common.tasks import finished
from common.tracking import OPERATION_QUERY
from services.query.chat_ports import Agents, Conversations
from services.query.domain.chat_records import AgentRecord, ConversationRecord, TurnRecord
from services.query.domain.dialogue import asks_for_person, search_text
from services.query.domain.identity import new_uid
from services.query.domain.language import language_of
from services.query.domain.prompt import PromptMessage
from services.query.ports import MostTokens, Question
from services.query.usecases.answer import Answering, answer_events
from services.query.usecases.chat.agents import existing_agent
from services.query.usecases.chat.turns import Held, TakeTurns, TurnWriter
from services.query.usecases.counted_search import query_tokens
from services.query.usecases.events import Event
from services.query.usecases.metering import Bill, Meter, bill_key, metered
from services.query.usecases.search import Found, SearchPassages, SearchSpec

log = logging.getLogger("malla.query")


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
        self, agents: Agents, conversations: Conversations, turns: TakeTurns, search: SearchPassages, answering: Answering
    ) -> None:
        self._agents = agents
        self._conversations = conversations
        self._turns = turns
        self._search = search
        self._a = answering

    async def stream(self, spec: ChatSpec, ctx: Context) -> AsyncGenerator[Event, None]:
        """Yields the answer's events. What was generated is stored, also when the reader leaves or the model fails.

        Raises:
            NotFoundError: The tenant has no such agent.
            InvalidArgumentError: The message is blank.
            TurnTakenError: Another message of the conversation does not end in time.
            TurnLostError: The conversation went to another call in the middle; the answer was stopped.
            BudgetExceededError: The tenant has too few tokens left; none was spent.
            MallaError: What search and the answerer raise.
        """
        if not spec.message.strip():
            raise InvalidArgumentError([("mensaje", "must hold more than white space")])
        agent = await existing_agent(self._agents, ctx.tenant_id, spec.id_agente, at_hand=True)
        is_done = False
        try:
            async with self._turns.taken(spec.session_id, ctx, _fresh(spec)) as held:
                exchange = await self._exchange(spec, agent, held, ctx)
                async with aclosing(held.lease.over(exchange)) as events:
                    async for event in events:
                        is_done = is_done or (not isinstance(event, str) and event.done is not None)
                        yield event
        except MallaError as error:
            if not is_done:
                raise
            # The answer is stored and told; what is left is the turn itself, which is free when its lease ends.
            log.warning("a conversation's turn was not given back: %s", error.reason)

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
        """Returns the events of a message: of the first answer to it, of a hand-off, or of an answer that is made."""
        writer = TurnWriter(self._conversations, held, spec.request_id, ctx)
        first = await writer.find_first()
        if first is not None and first.state is TurnState.COMPLETE:
            return _each(_replayed(first))
        held.changes |= _newest(spec)
        history = [turn for turn in held.recent if turn.text and turn.message_id not in {writer.user_id, writer.answer_id}]
        reason = held.conversation.handoff_reason if held.conversation.handed_off else _reason_before_search(spec, agent, held)
        if reason:
            return _each(await self._handed_off(reason, spec, held, writer))
        return self._answered(spec, agent, held, history, writer, ctx)

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
        allowed = self._a.limits.answer(spec.k or agent.k, spec.max_tokens, ctx)
        question = _question(spec, agent, history, allowed.max_tokens)
        search = SearchSpec("", _search_text(spec, history), allowed.k)
        meter: Meter | None = None
        try:
            async with metered(
                self._a.accounts, _bill(spec, agent, writer, ctx), self._most(question, search, agent), ctx
            ) as meter:
                found = await self._search.across(agent.collections, search, question.language, ctx)
                if _is_too_far(found, agent):
                    await meter.commit()
                    for event in await self._handed_off("low_score", spec, held, writer, meter.usage):
                        yield event
                    return
                answer = answer_events(
                    self._a.answerer, question, found, meter, ctx, facts=allowed.facts, on_done=writer.complete
                )
                async with aclosing(answer) as events:
                    async for event in events:
                        if isinstance(event, str):
                            await writer.note(event)
                        yield event
        except (asyncio.CancelledError, GeneratorExit):
            await finished(writer.cancelled(_consumed(meter)))
            raise
        except Exception:
            await finished(writer.failed(_consumed(meter)))
            raise

    def _most(self, question: Question, search: SearchSpec, agent: AgentRecord) -> MostTokens:
        most = self._a.answerer.most_tokens(question, search.k if agent.collections else 0)
        return replace(most, embedding=most.embedding + len(agent.collections) * query_tokens(search))

    async def _handed_off(
        self, reason: str, spec: ChatSpec, held: Held, writer: TurnWriter, usage: TokenUsage | None = None
    ) -> list[Event]:
        """The bot says nothing: the message is kept for the human who has the conversation."""
        if not held.conversation.handed_off:
            # First: whoever is told, or sends the message again after a crash, finds the conversation in a human's hands.
            held.changes |= {"handed_off": True, "handoff_reason": reason}
            await held.save()
        stored_as = await writer.handed_off(spec.message, reason)
        return _handoff_events(stored_as, reason, usage)


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


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


def _search_text(spec: ChatSpec, history: list[TurnRecord]) -> str:
    return search_text(spec.message, [turn.text for turn in history if turn.role is TurnRole.USER])


def _bill(spec: ChatSpec, agent: AgentRecord, writer: TurnWriter, ctx: Context) -> Bill:
    # A message that is answered again, because its first answer was cut short, is paid again.
    attempt = str(writer.tries) if writer.tries > 1 else ""
    key = bill_key(spec.request_id, ctx, "chat", writer.answer_id, attempt=attempt)
    return Bill(key, OPERATION_QUERY, str(agent.id_agente))


def _consumed(meter: Meter | None) -> TokenUsage:
    return TokenUsage() if meter is None else meter.usage


def _question(spec: ChatSpec, agent: AgentRecord, history: list[TurnRecord], max_tokens: int) -> Question:
    return Question(
        text=spec.message,
        language=agent.language or language_of(spec.message),
        model=spec.model or agent.model,
        temperature=spec.temperature if spec.temperature is not None else agent.temperature,
        max_tokens=max_tokens,
        instructions=agent.instructions,
        history=[PromptMessage("user" if turn.role is TurnRole.USER else "assistant", turn.text) for turn in history],
    )


def _handoff_events(message_id: str, reason: str, usage: TokenUsage | None = None, **facts: bool) -> list[Event]:
    """`usage` is what was consumed before the bot fell silent; clients read it in every `done`."""
    metadata = {"handoff": reason, **facts}
    done = Done(message_id=message_id, finish_reason="handoff", usage=usage or TokenUsage(), metadata=metadata)
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
