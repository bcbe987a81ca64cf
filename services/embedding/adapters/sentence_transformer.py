"""Any sentence-transformers model, on the CPU or a GPU. Needs the extra `sentence-transformers`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from common.models import EmbeddingKind
from services.embedding.ports import Matrix

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


Count = Callable[[list[str]], list[int]]


@dataclass(frozen=True)
class Running:
    """How a model is run.

    Attributes:
        device: "auto", "cpu" or "cuda".
        dtype: "auto" for half precision on a GPU and float32 elsewhere, or torch's name of one.
        backend: "auto", "torch" or "onnx"; see `load_transformer`, which decides.
    """

    device: str = "auto"
    dtype: str = "auto"
    backend: Literal["auto", "torch", "onnx"] = "auto"

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

    @property
    def is_float32(self) -> bool:
        """Whether nothing is computed in less."""
        return self.precision is torch.float32


class SentenceTransformerEngine:
    """A model by name or folder, on torch. Models that name their prompts get the one of the text's kind.

    Args:
        model: Name or folder.
        name: What it goes by; empty for the last part of `model`.
        running: How it is run.
    """

    provider = "sentence-transformers"
    at_once = 1

    def __init__(self, model: str, name: str = "", running: Running = Running()) -> None:
        self._model = SentenceTransformer(model, device=running.where, model_kwargs={"dtype": running.precision})
        self.model = name or Path(model).name
        self.counted = _counter(self._model.tokenizer)
        self.dimensions = int(self._model.get_embedding_dimension() or 0)
        self.window_tokens: int | None = self._model.max_seq_length

    def count_tokens(self, texts: Sequence[str], kind: EmbeddingKind) -> list[int]:
        """Counts with the model's own tokenizer, the prompt included."""
        prompt = self.prompt(kind)
        return self.counted([prompt + text for text in texts])

    def embed(self, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        """Computes; texts beyond the window are cut by the model."""
        vectors = self._model.encode(
            list(texts),
            prompt=self.prompt(kind) or None,
            batch_size=len(texts),
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        rows = np.asarray(vectors, dtype=np.float32)
        # What was normalised in half precision is so to three digits only.
        return cast(Matrix, rows / np.linalg.norm(rows, axis=1, keepdims=True))

    @property
    def loaded(self) -> SentenceTransformer:
        """The library's own model."""
        return self._model

    def prompt(self, kind: EmbeddingKind) -> str:
        """Returns what goes before texts of a kind; empty where the model names nothing for it."""
        names = ("query",) if kind is EmbeddingKind.QUERY else ("passage", "document")
        prompts = self._model.prompts or {}
        return next((prompt for name in names if (prompt := prompts.get(name))), "")


def _counter(tokenizer: Any) -> Count:
    """Returns what counts the tokens of texts before any cut, special ones included.

    By a tokenizer of its own: a computation sets how the model's cuts and pads, which fails while another thread uses it.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        own = copy.deepcopy(tokenizer)
        return lambda texts: [len(ids) for ids in own(texts, truncation=False, verbose=False)["input_ids"]]
    fast = Tokenizer.from_str(backend.to_str())
    fast.no_truncation()
    fast.no_padding()
    return lambda texts: [len(encoded.ids) for encoded in fast.encode_batch(texts)]
