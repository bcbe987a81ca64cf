"""What the query server needs from the world."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.context import Context
from common.models import EmbeddingKind, SearchResult, TokenUsage
from common.store import ChangeRecord, ChunkRecord, CollectionRecord
from services.query.domain.prompt import PromptMessage

T = TypeVar("T")
Matrix = NDArray[np.float32]
Keys = Iterable[int] | NDArray[np.int64] | None


class Record(Protocol):
    """The record of collections, changes and chunks. Every method sees one tenant's rows only."""

    async def collection(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        """Returns a collection."""
        ...

    async def changes_after(self, tenant_id: str, collection_uid: str, seq: int) -> list[ChangeRecord]:
        """Returns the changes with a number above `seq`, in order."""
        ...

    async def change(self, tenant_id: str, collection_uid: str, seq: int) -> ChangeRecord | None:
        """Returns the change with a number."""
        ...

    async def chunks_of(
        self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], model: str
    ) -> Mapping[str, Sequence[ChunkRecord]]:
        """Returns the chunks of one version of each document with their vectors of a model, in order, by document.

        Nothing for a version that has none; vectors of any model where none is named.
        """
        ...

    async def chunk_ids(self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], model: str) -> Sequence[str]:
        """Returns the identifiers of the same chunks."""
        ...

    async def collections(self, tenant_id: str) -> Sequence[CollectionRecord]:
        """Returns the tenant's collections, by identifier."""
        ...


@dataclass(frozen=True)
class Vectors:
    """Vectors of texts: (texts, dimensions) float32, L2-normalised rows."""

    rows: Matrix
    model: str
    usage: TokenUsage


NOT_SERVED = "MODEL_NOT_FOUND"
"""What the embedding server says of a model that it does not serve."""


class Embedder(Protocol):
    """Computes vectors at interactive priority."""

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, ctx: Context, model: str = "") -> Vectors:
        """Returns the texts' vectors of a model, of the embedding server's own where none is named.

        Raises MallaError where the embedding server cannot: of the reason NOT_SERVED where it does not serve the model.
        """
        ...


Commit = Callable[[], None]
"""Makes a change that was prepared. It is quick, and nothing else may run in the index meanwhile."""


Still = Callable[[], AbstractContextManager[None]]
"""Keeps changes waiting, but not searches, while its block runs. Keep it short."""


class Reranker(Protocol):
    """Reads a query and a text together, and says how well the text answers it."""

    async def rerank(self, query: str, texts: Sequence[str], ctx: Context) -> Sequence[float]:
        """Returns one score a text, the higher the better. Raises MallaError where the embedding server cannot."""
        ...


class VectorIndex(Protocol):
    """Finds the nearest of many vectors of one model."""

    def __len__(self) -> int:
        """Returns how many vectors there are."""
        ...

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        ...

    def stage(self, keys: Sequence[int], rows: Matrix, remove: Sequence[int]) -> Commit:
        """Prepares adding vectors under new keys and removing others; keys that are not there are passed over."""
        ...

    def search(self, row: Matrix, k: int, among: Keys) -> dict[int, float]:
        """Returns at most `k` keys with their inner products, best first; only keys in `among` unless it is None."""
        ...

    @property
    def outgrown(self) -> bool:
        """Whether another structure fits its size better."""
        ...

    def beside(self, still: Still) -> VectorIndex:
        """Makes a fitting index of the same vectors, however long that takes.

        It reads the vectors within `still`, a little at a time; `catch_up` brings what changes in between.
        """
        ...

    def catch_up(self, current: Any) -> None:
        """Takes in what changed in the index `current` since this one was begun beside it."""
        ...

    def save(self, path: Path) -> None:
        """Writes the index to a file."""
        ...


class Text(NamedTuple):
    """A text to be found by its words, and what is kept of it as it is."""

    words: str
    row: bytes = b""


class LexicalIndex(Protocol):
    """Finds texts by their words, and keeps what belongs to them."""

    def __len__(self) -> int:
        """Returns how many texts there are."""
        ...

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        ...

    def stage(self, add: Mapping[int, Text], remove: Sequence[int]) -> Commit:
        """Prepares adding and removing texts; searches see nothing of it before the commit."""
        ...

    def rows(self, keys: Sequence[int]) -> Mapping[int, bytes]:
        """Returns the rows of the texts with these keys that are there."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the index into an empty folder, where later changes do not reach it."""
        ...

    def search(self, query: str, k: int, among: Keys) -> dict[int, float]:
        """Returns at most `k` keys with their scores, best first; only keys in `among` unless it is None."""
        ...

    def coverage(self, query: str) -> float:
        """Returns the share, 0 to 1, of the query's words that some text holds, rare words counting more."""
        ...


class Run(Protocol):
    """Runs what blocks, elsewhere."""

    async def __call__(self, function: Callable[..., T], /, *args: Any) -> T:
        """Returns what the function returns."""
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
class MostTokens:
    """The most tokens an answer may take: of a language model, and of an embedding model."""

    llm: int = 0
    embedding: int = 0


@dataclass(frozen=True)
class Asking:
    """A language model is asked next, by whoever reads on.

    Attributes:
        prompt_tokens: What is sent to it, estimated.
    """

    provider: str
    model: str
    prompt_tokens: int


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


AnswerItem = str | Asking | AnswerEnd


class Answerer(Protocol):
    """Makes an answer from passages."""

    def most_tokens(self, question: Question, passages: int) -> MostTokens:
        """Returns the most an answer from so many passages may take."""
        ...

    def answer(self, question: Question, passages: Sequence[SearchResult], ctx: Context) -> AsyncGenerator[AnswerItem, None]:
        """Yields the answer's pieces of text, then one AnswerEnd. "[n]" in the text cites passage n, from 1.

        Yields Asking before each time it asks a language model.
        """
        ...
