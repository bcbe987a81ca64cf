"""Vectors of texts."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from common.base_model import BaseModel
from common.models.base import BaseResponse, InternalResponse
from common.models.usage import TokenUsage


class EmbeddingKind(StrEnum):
    """What a text is: retrieval models embed questions and passages differently."""

    QUERY = "QUERY"
    PASSAGE = "PASSAGE"


class EmbeddingPriority(StrEnum):
    """Which queue texts wait in."""

    INTERACTIVE = "INTERACTIVE"
    BULK = "BULK"


class Embedding(BaseModel):
    """One vector, L2-normalised."""

    values: list[float] = Field(default_factory=list)


class EmbeddingResponse(BaseResponse):
    """One vector a text, in the texts' order."""

    embeddings: list[Embedding] = Field(default_factory=list)
    dimensions: int = 0
    model: str = ""
    usage: TokenUsage | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class InternalEmbeddingData(BaseModel):
    """Row-major (texts, dimensions) matrix of little-endian float32, L2-normalised rows."""

    vectors: bytes = b""
    dimensions: int = 0
    model: str = ""
    usage: TokenUsage | None = None
    truncated: list[int] = Field(default_factory=list)


class InternalEmbeddingResponse(InternalResponse[InternalEmbeddingData]):
    """The standard envelope around packed vectors."""


class InternalRerankData(BaseModel):
    """How well texts answer a query: one score a text, the higher the better."""

    scores: list[float] = Field(default_factory=list)
    model: str = ""
    usage: TokenUsage | None = None


class InternalRerankResponse(InternalResponse[InternalRerankData]):
    """The standard envelope around scores."""
