"""Measures retrieval: does the right document come first?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from common.client import MallaClient
from common.models import SearchMode, SearchResponse
from services.cli.questions import Question

CUT = 10
"""How many passages are looked at."""

RECALL_AT = (1, 5, 10)
"""The places up to which recall is told."""

WORDS_AT = 5
"""How many passages may hold the expected words."""

_AT_ONCE = 4


@dataclass(frozen=True)
class Ranked:
    """Where the right document was found.

    Attributes:
        rank: Among the distinct documents found, from 1; 0 for not found.
        has_words: Whether the first passages hold the expected words.
    """

    question: Question
    rank: int
    has_words: bool

    def is_within(self, places: int) -> bool:
        """Whether the right document is among the first so many."""
        return 0 < self.rank <= places


@dataclass(frozen=True)
class Score:
    """Quality over some questions.

    Attributes:
        mrr: Mean of 1/rank, 0 where the document was not among the first 10.
        recall: By number of places: the share of questions whose document was among them.
        words: Share of questions whose expected words were in the first 5 passages; None where no question expects any.
    """

    questions: int
    mrr: float
    recall: Mapping[int, float]
    words: float | None


async def rank_all(
    client: MallaClient,
    collection_id: str,
    questions: Sequence[Question],
    mode: SearchMode,
    on_done: Callable[[], None] = lambda: None,
) -> list[Ranked]:
    """Asks every question and says where its document was found."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(question: Question) -> Ranked:
        async with gate:
            found = await client.search(collection_id, question.question, k=CUT, mode=mode)
        on_done()
        passages = "\n".join(result.text for result in found.results[:WORDS_AT])
        return Ranked(question, _rank(found, question.document_id), question.is_answered_by(passages))

    return await asyncio.gather(*(one(question) for question in questions))


def _rank(found: SearchResponse, document_id: str) -> int:
    """Returns the place of a document among those found. One that holds the same text as a result stands at its place."""
    places: dict[str, int] = {}
    for result in found.results:
        place = len(set(places.values())) + 1
        if result.document_id in places:
            continue
        for name in (result.document_id, *result.also_in):
            places.setdefault(name, place)
    return places.get(document_id, 0)


def score(ranked: Sequence[Ranked]) -> Score:
    """Sums up."""
    count = len(ranked)
    worded = [row for row in ranked if row.question.has_words]
    return Score(
        questions=count,
        mrr=sum(1 / row.rank for row in ranked if row.is_within(CUT)) / count,
        recall={places: sum(row.is_within(places) for row in ranked) / count for places in RECALL_AT},
        words=sum(row.has_words for row in worded) / len(worded) if worded else None,
    )


def by_language(ranked: Sequence[Ranked]) -> dict[str, Score]:
    """Sums up by language, where there are several, and over all."""
    languages = sorted({row.question.language for row in ranked})
    parts = {name or "?": [row for row in ranked if row.question.language == name] for name in languages}
    return {**({name: score(rows) for name, rows in parts.items()} if len(parts) > 1 else {}), "all": score(ranked)}
