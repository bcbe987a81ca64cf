"""Answering a question from a collection, as events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from common.context import Context
from common.models import ChatEvent, Citation, Done, Retrieval, SearchResult, TokenUsage
from services.query.domain.language import language_of
from services.query.ports import AnswerEnd, Answerer, Question
from services.query.usecases.events import Event
from services.query.usecases.search import Found, SearchPassages, SearchSpec


@dataclass(frozen=True)
class QuerySpec:
    """What to answer, from what."""

    search: SearchSpec
    model: str = ""
    temperature: float | None = None
    max_tokens: int = 0


class AnswerQuestion:
    """Retrieves passages and answers from them."""

    def __init__(self, search: SearchPassages, answerer: Answerer) -> None:
        self._search = search
        self._answerer = answerer

    async def stream(self, spec: QuerySpec, ctx: Context) -> AsyncGenerator[Event, None]:
        """Yields retrieval, deltas, usage and done. Raises what SearchPassages and the answerer raise."""
        found = await self._search(spec.search, ctx)
        question = Question(
            text=spec.search.query,
            language=language_of(spec.search.query, found.language),
            model=spec.model,
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
        )
        async with aclosing(answer_events(self._answerer, question, found, ctx)) as events:
            async for event in events:
                yield event

    async def whole(self, spec: QuerySpec, ctx: Context) -> Done:
        """Returns the whole answer."""
        done = None
        async with aclosing(self.stream(spec, ctx)) as events:
            async for event in events:
                if isinstance(event, ChatEvent):
                    done = event.done or done
        if done is None:
            raise RuntimeError("the answerer ended without an AnswerEnd")
        return done


async def answer_events(answerer: Answerer, question: Question, found: Found, ctx: Context) -> AsyncGenerator[Event, None]:
    """Yields an answer from what was found: retrieval, pieces of text, usage, done."""
    citations = citations_of(found.results)
    yield ChatEvent(retrieval=Retrieval(citations=citations))
    pieces: list[str] = []
    async with aclosing(answerer.answer(question, found.results, ctx)) as answer:
        async for piece in answer:
            if isinstance(piece, str):
                pieces.append(piece)
                yield piece
            else:
                usage = _usage(found, piece)
                yield ChatEvent(usage=usage)
                yield ChatEvent(done=_done("".join(pieces), piece, citations, usage))


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


def _usage(found: Found, end: AnswerEnd) -> TokenUsage:
    stages = [found.usage.as_stage("query_embedding")] if found.usage.total_tokens else []
    return TokenUsage.of_stages([*stages, *(usage.as_stage(name) for name, usage in end.stages)])


def _done(answer: str, end: AnswerEnd, citations: Sequence[Citation], usage: TokenUsage) -> Done:
    return Done(
        answer=answer,
        finish_reason=end.finish_reason,
        model=end.model,
        citations=[citations[i] for i in sorted(set(end.cited))],
        usage=usage,
        metadata=dict(end.facts),
    )
