"""Any sentence-transformers model, on the CPU or a GPU. Needs the extra `sentence-transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from common.models import EmbeddingKind
from services.embedding.ports import Matrix


class SentenceTransformerEngine:
    """A model by name or folder. Models that name their prompts get the one of the text's kind."""

    provider = "sentence-transformers"

    def __init__(self, model: str) -> None:
        self._model = SentenceTransformer(model)
        self.model = Path(model).name
        self.dimensions = int(self._model.get_embedding_dimension() or 0)
        self.window_tokens: int | None = self._model.max_seq_length

    def count_tokens(self, texts: Sequence[str], kind: EmbeddingKind) -> list[int]:
        """Counts with the model's own tokenizer, the prompt included."""
        prompt = self._prompt(kind)
        encoded = self._model.tokenizer([prompt + text for text in texts], truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        """Computes; texts beyond the window are cut by the model."""
        vectors = self._model.encode(
            list(texts),
            prompt=self._prompt(kind) or None,
            batch_size=len(texts),
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def _prompt(self, kind: EmbeddingKind) -> str:
        names = ("query",) if kind is EmbeddingKind.QUERY else ("passage", "document")
        prompts = self._model.prompts or {}
        return next((prompt for name in names if (prompt := prompts.get(name))), "")
