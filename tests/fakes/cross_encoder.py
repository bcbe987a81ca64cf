"""A cross-encoder that counts the query's words in a text, and that a test can hold and break."""

from __future__ import annotations

import threading
from collections.abc import Sequence

_LONGEST_HOLD_S = 20.0


class FakeCrossEncoder:
    """One token a word."""

    model = "fake-pairs"
    provider = "fake"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.failure: Exception | None = None
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> None:
        """Makes calls wait inside the model."""
        self._open.clear()

    def release(self) -> None:
        """Lets the waiting call and all later ones through."""
        self._open.set()

    def score(self, query: str, texts: Sequence[str]) -> tuple[Sequence[float], int]:
        self.calls.append(list(texts))
        assert self._open.wait(_LONGEST_HOLD_S), "the test never released the model"
        if self.failure is not None:
            raise self.failure
        words = query.lower().split()
        scores = [sum(word in text.lower().split() for word in words) / len(words) for text in texts]
        return scores, sum(len(text.split()) for text in texts)
