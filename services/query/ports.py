"""What the query server needs from the world."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.context import Context
from common.models import EmbeddingKind, SearchResult, TokenUsage
from common.store import ChangeRecord, ChunkRecord, CollectionRecord
from services.query.domain.prompt import PromptMessage

Matrix = NDArray[np.float32]
Keys = Iterable[int] | None


class Record(Protocol):
    """The record of collections, changes and chunks. Every method sees one tenant's rows only."""

    async def collection(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        """Returns a collection."""
        ...

    async def changes_after(self, tenant_id: str, collection_uid: str, seq: int) -> list[ChangeRecord]:
        """Returns the changes with a number above `seq`, in order."""
        ...

    async def chunks(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> list[ChunkRecord]:
        """Returns the chunks of one version of a document, in order."""
        ...


@dataclass(frozen=True)
class Vectors:
    """Vectors of texts: (texts, dimensions) float32, L2-normalised rows."""

    rows: Matrix
    model: str
    usage: TokenUsage


class Embedder(Protocol):
    """Computes vectors at interactive priority."""

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, ctx: Context) -> Vectors:
        """Returns the texts' vectors. Raises MallaError where the embedding server cannot."""
        ...


class VectorIndex(Protocol):
    """Finds the nearest of many vectors of one model."""

    def add(self, keys: Sequence[int], rows: Matrix) -> None:
        """Adds vectors under new keys."""
        ...

    def remove(self, keys: Sequence[int]) -> None:
        """Removes vectors."""
        ...

    def search(self, row: Matrix, k: int, among: Keys) -> dict[int, float]:
        """Returns at most `k` keys with their inner products, best first; only keys in `among` unless it is None."""
        ...


class LexicalIndex(Protocol):
    """Finds texts by their words."""

    def update(self, add: Mapping[int, str], remove: Sequence[int]) -> None:
        """Adds and removes texts; a search sees all of it or nothing."""
        ...

    def search(self, query: str, k: int, among: Keys) -> dict[int, float]:
        """Returns at most `k` keys with their scores, best first; only keys in `among` unless it is None."""
        ...


MakeVectorIndex = Callable[[int], VectorIndex]
"""Makes an empty index for vectors of so many dimensions."""

MakeLexicalIndex = Callable[[str], LexicalIndex]
"""Makes an empty index for texts in a language, ISO 639-1."""


@dataclass(frozen=True)
class Question:
    """What an answerer is asked.

    Attributes:
        language: ISO 639-1, to answer in.
        model: The model the caller wants; empty for the configured one.
        max_tokens: The most to produce; 0 for the configured number.
        instructions: How to answer, from the agent.
        history: Earlier messages of the conversation, oldest first.
    """

    text: str
    language: str
    model: str = ""
    temperature: float | None = None
    max_tokens: int = 0
    instructions: str = ""
    history: Sequence[PromptMessage] = ()


@dataclass(frozen=True)
class AnswerEnd:
    """How an answer ended.

    Attributes:
        cited: Positions, from 0, of the passages the answer cites.
        stages: The steps that consumed tokens.
        facts: What the reader should know about how the answer was made.
    """

    model: str
    cited: Sequence[int]
    stages: Sequence[tuple[str, TokenUsage]]
    finish_reason: str = "stop"
    facts: Mapping[str, str | int | bool] = field(default_factory=dict)


class Answerer(Protocol):
    """Makes an answer from passages."""

    def answer(
        self, question: Question, passages: Sequence[SearchResult], ctx: Context
    ) -> AsyncGenerator[str | AnswerEnd, None]:
        """Yields the answer's pieces of text, then one AnswerEnd. "[n]" in the text cites passage n, from 1."""
        ...
