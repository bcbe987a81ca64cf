"""What the embedding server does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.context import Context
from common.errors import InvalidArgumentError, NotFoundError
from common.models import EmbeddingKind, EmbeddingPriority, TokenUsage
from services.embedding.ports import Engine, Matrix


class Computed(Protocol):
    """The rows of one call and what they cost."""

    @property
    def vectors(self) -> Matrix:
        """(texts, dimensions) float32, L2-normalised rows."""
        ...

    @property
    def counts(self) -> list[int]:
        """Tokens the model read of each text."""
        ...

    @property
    def truncated(self) -> list[int]:
        """Positions of texts that were cut."""
        ...

    @property
    def cached_tokens(self) -> int:
        """The part of the tokens whose vectors were remembered."""
        ...


class Batches(Protocol):
    """Computes texts of many callers together."""

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, priority: EmbeddingPriority, ctx: Context) -> Computed:
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


@dataclass(frozen=True)
class Served:
    """A model and what computes with it."""

    engine: Engine
    batches: Batches


class EmbedTexts:
    """Embeds the texts of one call, by any of the models that are served.

    Args:
        models: By the name that calls use; the first one serves calls that name none.
    """

    def __init__(self, models: Mapping[str, Served]) -> None:
        self._models = models
        self._default = next(iter(models))

    async def __call__(
        self, texts: Sequence[str], kind: EmbeddingKind, model: str, priority: EmbeddingPriority, ctx: Context
    ) -> Embeddings:
        """Returns the vectors. Raises NotFoundError for a model not served, InvalidArgumentError for a blank text."""
        name = model or self._default
        served = self._models.get(name)
        if served is None:
            names = ", ".join(f"'{known}'" for known in self._models)
            raise NotFoundError("model", model, f"This server serves {names}; MALLA_EMBEDDING_MODELS adds others.")
        blank = [(f"texts[{i}]", "must hold more than white space") for i, text in enumerate(texts) if not text.strip()]
        if blank:
            raise InvalidArgumentError(blank)
        embedded = await served.batches.embed(texts, kind, priority, ctx)
        usage = TokenUsage(
            input_tokens=sum(embedded.counts),
            total_tokens=sum(embedded.counts),
            cached_tokens=embedded.cached_tokens,
            provider=served.engine.provider,
            model=name,
        )
        if embedded.truncated:
            ctx.add_metric("truncated", embedded.truncated)
        return Embeddings(embedded.vectors, name, usage, embedded.truncated)
