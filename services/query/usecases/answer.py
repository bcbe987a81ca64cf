"""Answering a question from a collection, as events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from common.context import Context
from common.models import ChatEvent, Citation, Done, Retrieval, SearchResult, TokenUsage
from common.tracking import OPERATION_QUERY
from services.query.domain.language import language_of
from services.query.ports import AnswerEnd, Answerer, Asking, Question
from services.query.usage_ports import Accounts
from services.query.usecases.counted_search import query_tokens
from services.query.usecases.events import Event
from services.query.usecases.limits import Facts, Limits
from services.query.usecases.metering import RERANKING, Bill, Meter, bill_key, metered
from services.query.usecases.search import Found, SearchPassages, SearchSpec

OnDone = Callable[[Done], Awaitable[None]]
"""Stores an answer before anyone is told that it is done."""


@dataclass(frozen=True)
class QuerySpec:
    """What to answer, from what.

    Attributes:
        operation: Under what it is counted, one of common.tracking.OPERATIONS.
        request_id: Idempotency key: the same one is answered with the first answer.
    """

    search: SearchSpec
    model: str = ""
    temperature: float | None = None
    max_tokens: int = 0
    operation: str = OPERATION_QUERY
    request_id: str = ""

    def key(self, ctx: Context, attempt: str = "") -> str:
        """Returns under what it is counted and its answer kept; each `attempt` at the same answer is counted."""
        return bill_key(self.request_id, ctx, "query", self.search.collection_id, self.search.query, attempt=attempt)


@dataclass(frozen=True)
class Answering:
    """What is needed to answer."""

    answerer: Answerer
    accounts: Accounts
    limits: Limits


class AnswerQuestion:
    """Retrieves passages and answers from them."""

    def __init__(self, search: SearchPassages, answering: Answering) -> None:
        self._search = search
        self._a = answering

    async def stream(
        self, spec: QuerySpec, ctx: Context, *, attempt: str = "", on_done: OnDone | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yields retrieval, deltas, usage and done; before the last two `on_done` is awaited.

        Raises BudgetExceededError before anything is spent, and what SearchPassages and the answerer raise.
        """
        allowed = self._a.limits.answer(spec.search.k, spec.max_tokens, ctx)
        search = replace(spec.search, k=allowed.k)
        question = Question(
            text=search.query,
            language=language_of(search.query),
            model=spec.model,
            temperature=spec.temperature,
            max_tokens=allowed.max_tokens,
        )
        most = self._a.answerer.most_tokens(question, search.k)
        most = replace(most, embedding=most.embedding + query_tokens(search))
        bill = Bill(spec.key(ctx, attempt), spec.operation)
        async with metered(self._a.accounts, bill, most, ctx) as meter:
            found = await self._search(search, ctx)
            question = replace(question, language=language_of(search.query, found.language))
            answer = answer_events(self._a.answerer, question, found, meter, ctx, facts=allowed.facts, on_done=on_done)
            async with aclosing(answer) as events:
                async for event in events:
                    yield event


async def answer_events(
    answerer: Answerer,
    question: Question,
    found: Found,
    meter: Meter,
    ctx: Context,
    *,
    facts: Facts,
    on_done: OnDone | None = None,
) -> AsyncGenerator[Event, None]:
    """Yields an answer from what was found: retrieval, pieces of text, usage, done.

    What was consumed is written down before the last two, and then `on_done` is awaited: whoever hears that an answer is done
    finds it counted and stored.
    """
    citations = citations_of(found.results)
    yield ChatEvent(retrieval=Retrieval(citations=citations))
    pieces: list[str] = []
    async with aclosing(answerer.answer(question, found.results, ctx)) as answer:
        async for piece in answer:
            if isinstance(piece, str):
                pieces.append(piece)
                meter.heard(piece)
                yield piece
            elif isinstance(piece, Asking):
                meter.asking(piece)
            else:
                usage = _usage(found, piece, meter)
                done = _done("".join(pieces), piece, citations, usage, facts)
                meter.answered(piece.stages)
                await meter.commit()
                if on_done is not None:
                    await on_done(done)
                yield ChatEvent(usage=usage)
                yield ChatEvent(done=done)


def citations_of(results: Sequence[SearchResult]) -> list[Citation]:
    """Returns the passages as an answer may cite them, numbered from 1."""
    return [
        Citation(
            index=i,
            document_id=result.document_id,
            chunk_id=result.chunk_id,
            title=str((result.metadata or {}).get("title", result.document_id)),
            text=result.text,
            score=result.score,
            page=result.page,
        )
        for i, result in enumerate(results, start=1)
    ]


def _usage(found: Found, end: AnswerEnd, meter: Meter) -> TokenUsage:
    stages = [found.usage.as_stage("query_embedding")] if found.usage.total_tokens else []
    stages += [stage for stage in meter.spent if stage.stage == RERANKING]
    return TokenUsage.of_stages([*stages, *(usage.as_stage(name) for name, usage in end.stages)])


def _done(answer: str, end: AnswerEnd, citations: Sequence[Citation], usage: TokenUsage, facts: Facts) -> Done:
    return Done(
        answer=answer,
        finish_reason=end.finish_reason,
        model=end.model,
        citations=[citations[i] for i in sorted(set(end.cited))],
        usage=usage,
        metadata={**facts, **end.facts},
    )
