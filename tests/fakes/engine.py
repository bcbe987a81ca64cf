"""An embedding engine whose vectors say which words a text holds, and that a test can hold, break and look into."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Sequence

import numpy as np

from common.models import EmbeddingKind
from services.embedding.ports import Matrix
from tests.fakes.waiting import until

_LONGEST_HOLD_S = 20.0


def vector_of(text: str, dimensions: int) -> Matrix:
    """Returns a (dimensions,) float32, L2-normalised bag of hashed words: texts that share words are near each other."""
    row = np.full(dimensions, 1e-3, dtype=np.float32)
    for word in re.findall(r"\w+", text.lower()):
        row[zlib.crc32(word.encode()) % dimensions] += 1
    return (row / np.linalg.norm(row)).astype(np.float32)


class FakeEngine:
    """One token a word."""

    provider = "fake"

    def __init__(
        self, *, dimensions: int = 64, window_tokens: int | None = None, model: str = "fake-words", at_once: int = 1
    ) -> None:
        self.model = model
        self.at_once = at_once
        self.dimensions = dimensions
        self.window_tokens = window_tokens
        self.batches: list[list[str]] = []
        self.failure: Exception | None = None
        self.rows_missing = 0
        self._open = threading.Event()
        self._open.set()

    @property
    def computed(self) -> list[str]:
        """All texts computed so far, in order."""
        return [text for batch in self.batches for text in batch]

    def hold(self) -> None:
        """Makes batches wait inside the engine."""
        self._open.clear()

    def release(self) -> None:
        """Lets the waiting batch and all later ones through."""
        self._open.set()

    async def begun(self, batches: int) -> None:
        """Waits until so many batches have been handed to the engine."""
        await until(lambda: len(self.batches) >= batches)

    def count_tokens(self, texts: Sequence[str], kind: EmbeddingKind) -> list[int]:
        return [len(text.split()) for text in texts]

    def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        self.batches.append(list(texts))
        assert self._open.wait(_LONGEST_HOLD_S), "the test never released the engine"
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return np.stack([vector_of(text, self.dimensions) for text in texts[self.rows_missing :]])
