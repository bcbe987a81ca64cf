"""Settings of the embedding server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.settings import ServerSettings


class EmbeddingSettings(ServerSettings):
    """Which engine computes, and how much may wait."""

    embedding_engine: Literal["embedded", "sentence-transformers"] = Field(
        default="embedded",
        description="embedded: multilingual-e5-small from its wheel; sentence-transformers: any model, needs the extra.",
    )
    embedding_model: str = Field(
        default="", description="Model name or folder for sentence-transformers; not used by the embedded engine."
    )
    embedding_batch_tokens: int = Field(default=2048, description="Most tokens computed in one batch.")
    embedding_batch_texts: int = Field(default=32, description="Most texts computed in one batch.")
    embedding_queue_tokens: int = Field(default=200_000, description="Most tokens waiting; more are refused.")
