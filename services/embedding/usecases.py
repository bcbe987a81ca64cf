"""What the embedding server does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.context import Context
from common.errors import InvalidArgumentError, NotFoundError
from common.models import EmbeddingKind, EmbeddingPriority, TokenUsage
from services.embedding.ports import Engine, Matrix


class EmbeddedTexts(Protocol):
    """The rows of one call and what they cost."""

    @property
    def vectors(self) -> Matrix:
        """(texts, dimensions) float32, L2-normalised rows."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens the model read."""
        ...

    @property
    def truncated(self) -> list[int]:
        """Positions of texts that were cut."""
        ...


class Batches(Protocol):
    """Computes texts of many callers together."""

    async def embed(
        self, texts: Sequence[str], kind: EmbeddingKind, priority: EmbeddingPriority, ctx: Context
    ) -> EmbeddedTexts:
        """Returns the texts' vectors, in order."""
        ...


@dataclass(frozen=True)
class Embeddings:
    """Vectors of one call.

    Attributes:
        vectors: (texts, dimensions) float32, L2-normalised rows.
        truncated: Positions of texts that were cut.
    """

    vectors: Matrix
    model: str
    usage: TokenUsage
    truncated: list[int]


class EmbedTexts:
    """Embeds the texts of one call."""

    def __init__(self, engine: Engine, batches: Batches) -> None:
        self._engine = engine
        self._batches = batches

    async def __call__(
        self, texts: Sequence[str], kind: EmbeddingKind, model: str, priority: EmbeddingPriority, ctx: Context
    ) -> Embeddings:
        """Returns the vectors. Raises NotFoundError for another model, InvalidArgumentError for a blank text."""
        if model not in {"", self._engine.model}:
            raise NotFoundError("model", model, f"This server serves '{self._engine.model}'; leave `model` empty to use it.")
        blank = [(f"texts[{i}]", "must hold more than white space") for i, text in enumerate(texts) if not text.strip()]
        if blank:
            raise InvalidArgumentError(blank)
        embedded = await self._batches.embed(texts, kind, priority, ctx)
        usage = TokenUsage(
            input_tokens=embedded.tokens,
            total_tokens=embedded.tokens,
            provider=self._engine.provider,
            model=self._engine.model,
        )
        if embedded.truncated:
            ctx.add_metric("truncated", embedded.truncated)
        return Embeddings(embedded.vectors, self._engine.model, usage, embedded.truncated)
