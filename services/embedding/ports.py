"""What the embedding server needs from a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.models import EmbeddingKind

Matrix = NDArray[np.float32]


class Engine(Protocol):
    """An embedding model. `count_tokens` may be called from any thread, `embed` from `at_once` at a time."""

    model: str
    provider: str
    dimensions: int
    window_tokens: int | None
    """Tokens the model reads of one text, None where a longer text is read whole."""
    at_once: int
    """Calls of `embed` that may run at a time. One for an engine that gains by batches, or has a device to itself; more for one
    whose call with a single text runs in the caller's thread, on one core."""

    def count_tokens(self, texts: Sequence[str], kind: EmbeddingKind) -> list[int]:
        """Returns the tokens of each text, special ones included, before any cut."""
        ...

    def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        """Returns a (len(texts), dimensions) float32 matrix of L2-normalised rows."""
        ...


class CrossEncoder(Protocol):
    """A model that reads a query and a text together. Used from one thread at a time."""

    model: str
    provider: str

    def score(self, query: str, texts: Sequence[str]) -> tuple[Sequence[float], int]:
        """Returns how well each text answers the query, the higher the better, and the tokens read."""
        ...
