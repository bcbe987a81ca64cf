"""Settings of the embedding server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from common.settings import ServerSettings

EMBEDDED = "embedded"
"""Stands for the embedded engine among models."""


def _user_cache() -> Path:
    """The user's cache folder (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "malla"


class EmbeddingSettings(ServerSettings):
    """Which engine computes, and how much may wait."""

    embedding_engine: Literal["embedded", "sentence-transformers"] = Field(
        default="embedded",
        description="embedded: multilingual-e5-small from its wheel; sentence-transformers: any model, needs the extra.",
    )
    embedding_model: str = Field(
        default="",
        description="Model name or folder for sentence-transformers, or name=folder; not used by the embedded engine.",
    )
    embedding_models: str = Field(
        default="",
        description="Models served beside it, for calls that name them and collections that are of them, separated by commas: "
        "'embedded', or a name or folder for sentence-transformers, or name=folder.",
    )
    embedding_device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where sentence-transformers computes; auto: on a GPU where there is one."
    )
    embedding_dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto",
        description="What sentence-transformers computes in; auto: half precision on a GPU, bfloat16 where it has that.",
    )
    embedding_backend: Literal["auto", "torch", "onnx"] = Field(
        default="auto",
        description="What computes models of sentence-transformers: on the CPU in float32 onnxruntime, with a graph made once "
        "from the model, where that is faster than torch (auto) or anyway (onnx).",
    )
    embedding_cache_dir: Path = Field(
        default_factory=_user_cache,
        description="Folder of converted models; $XDG_CACHE_HOME/malla or ~/.cache/malla if not set.",
    )
    embedding_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Cores that onnxruntime computes on, each with texts of its own; all if not set.",
    )
    embedding_batch_tokens: int = Field(default=2048, description="Most tokens computed in one batch.")
    embedding_batch_texts: int = Field(default=32, description="Most texts computed in one batch.")
    embedding_bulk_ms: int = Field(
        default=60,
        ge=1,
        description="Milliseconds that a batch with documents may take, if it holds more than one text: how long a question "
        "may wait for it. The embedded engine does not let questions wait: there it is how finely work is cut.",
    )
    embedding_queue_tokens: int = Field(default=200_000, description="Most tokens waiting; more are refused.")
    embedding_cache_mb: int = Field(
        default=64,
        ge=0,
        description="Megabytes of vectors that are remembered by text, for each tenant apart, some 500 in each; 0 for none.",
    )
    rerank_model: str = Field(
        default="", description="Name or folder of a cross-encoder that reranks passages; needs the extra. Empty for none."
    )
    rerank_queue_texts: int = Field(default=400, description="Most texts waiting to be reranked; more are refused.")

    @property
    def other_models(self) -> list[str]:
        """The models of `embedding_models`."""
        return [model for part in self.embedding_models.split(",") if (model := part.strip())]
