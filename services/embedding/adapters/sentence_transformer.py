"""Any sentence-transformers model, on the CPU or a GPU. Needs the extra `sentence-transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from common.models import EmbeddingKind
from services.embedding.ports import Matrix


_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Running:
    """How a model is run.

    Attributes:
        device: "auto", "cpu" or "cuda".
        dtype: "auto" for half precision on a GPU and float32 elsewhere, or torch's name of one.
        backend: "onnx" needs optimum and onnxruntime.
    """

    device: str = "auto"
    dtype: str = "auto"
    backend: Literal["torch", "onnx"] = "torch"

    @property
    def where(self) -> str:
        """The device, for torch."""
        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def precision(self) -> torch.dtype:
        """What is computed in."""
        if self.dtype != "auto":
            return _DTYPES[self.dtype]
        if self.where == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


class SentenceTransformerEngine:
    """A model by name or folder. Models that name their prompts get the one of the text's kind.

    Args:
        model: Name or folder.
        name: What it goes by; empty for the last part of `model`.
        running: How it is run.
    """

    provider = "sentence-transformers"

    def __init__(self, model: str, name: str = "", running: Running = Running()) -> None:
        # ONNX models bring their own precision.
        options: dict[str, Any] = {} if running.backend == "onnx" else {"dtype": running.precision}
        self._model = SentenceTransformer(model, device=running.where, backend=running.backend, model_kwargs=options)
        self.model = name or Path(model).name
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
        rows = np.asarray(vectors, dtype=np.float32)
        # What was normalised in half precision is so to three digits only.
        return cast(Matrix, rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def _prompt(self, kind: EmbeddingKind) -> str:
        names = ("query",) if kind is EmbeddingKind.QUERY else ("passage", "document")
        prompts = self._model.prompts or {}
        return next((prompt for name in names if (prompt := prompts.get(name))), "")
