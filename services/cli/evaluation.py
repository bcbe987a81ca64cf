"""Measures retrieval: does the right document come first?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.client import MallaClient
from common.models import SearchMode
from services.cli.questions import Question

CUT = 10
"""How many passages are looked at."""

RECALL_AT = 5

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


@dataclass(frozen=True)
class Score:
    """Quality over some questions.

    Attributes:
        mrr: Mean of 1/rank, 0 where the document was not among the first 10.
        recall: Share of questions whose document was among the first 5.
        words: Share of questions whose expected words were in the first 5 passages.
    """

    questions: int
    mrr: float
    recall: float
    words: float


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
        documents = list(dict.fromkeys(result.document_id for result in found.results))
        rank = documents.index(question.document_id) + 1 if question.document_id in documents else 0
        passages = "\n".join(result.text for result in found.results[:RECALL_AT])
        return Ranked(question, rank, question.is_answered_by(passages))

    return await asyncio.gather(*(one(question) for question in questions))


def score(ranked: Sequence[Ranked]) -> Score:
    """Sums up."""
    count = len(ranked)
    return Score(
        questions=count,
        mrr=sum(1 / row.rank for row in ranked if row.rank) / count,
        recall=sum(1 for row in ranked if 0 < row.rank <= RECALL_AT) / count,
        words=sum(1 for row in ranked if row.has_words) / count,
    )
