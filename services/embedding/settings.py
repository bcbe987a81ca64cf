"""Settings of the embedding server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from common.settings import ServerSettings


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
        default="", description="Model name or folder for sentence-transformers; not used by the embedded engine."
    )
    embedding_cache_dir: Path = Field(
        default_factory=_user_cache,
        description="Folder of the embedded engine's converted model; $XDG_CACHE_HOME/malla or ~/.cache/malla if not set.",
    )
    embedding_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Texts the embedded engine computes at a time, each on one core; all cores if not set.",
    )
    embedding_batch_tokens: int = Field(default=2048, description="Most tokens computed in one batch.")
    embedding_batch_texts: int = Field(default=32, description="Most texts computed in one batch.")
    embedding_queue_tokens: int = Field(default=200_000, description="Most tokens waiting; more are refused.")
