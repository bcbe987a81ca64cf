"""Any sentence-transformers cross-encoder, on the CPU or a GPU. Needs the extra `sentence-transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sentence_transformers import CrossEncoder

_BATCH_TEXTS = 32


class SentenceTransformerCrossEncoder:
    """A model by name or folder that gives one score a pair. Raises ValueError for one that gives several."""

    provider = "sentence-transformers"

    def __init__(self, model: str) -> None:
        self._model = CrossEncoder(model)
        if self._model.num_labels != 1:
            raise ValueError(f"'{model}' gives {self._model.num_labels} scores a pair; a reranker gives one")
        self.model = Path(model).name

    def score(self, query: str, texts: Sequence[str]) -> tuple[Sequence[float], int]:
        """Returns the scores and the tokens read; what is beyond the window is cut by the model."""
        pairs = [(query, text) for text in texts]
        scores = self._model.predict(pairs, batch_size=_BATCH_TEXTS, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(scores, dtype=np.float64).tolist(), self._tokens(query, texts)

    def _tokens(self, query: str, texts: Sequence[str]) -> int:
        encoded = self._model.tokenizer(
            [query] * len(texts), list(texts), truncation=True, max_length=self._model.max_length, verbose=False
        )
        return sum(len(ids) for ids in encoded["input_ids"])
