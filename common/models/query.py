"""Search, and answers with citations."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from common.models.base import BaseModel, BaseResponse, InternalResponse
from common.models.usage import TokenUsage


class SearchMode(StrEnum):
    """How passages are found."""

    HYBRID = "HYBRID"
    DENSE = "DENSE"
    LEXICAL = "LEXICAL"


class Citation(BaseModel):
    """One passage an answer rests on."""

    index: int = 0
    document_id: str = ""
    chunk_id: str = ""
    title: str = ""
    text: str = ""
    score: float = 0.0
    page: int | None = None


class SearchResult(BaseModel):
    """One passage."""

    chunk_id: str = ""
    document_id: str = ""
    text: str = ""
    score: float = 0.0
    metadata: dict[str, Any] | None = None
    page: int | None = None
    start_offset: int = 0
    end_offset: int = 0


class SearchResponse(BaseResponse):
    """The passages found, best first."""

    results: list[SearchResult] = Field(default_factory=list)
    seq: int = 0
    usage: TokenUsage | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class QueryResponse(BaseResponse):
    """An answer and what it rests on."""

    answer: str = ""
    citations: list[Citation] = Field(default_factory=list)
    usage: TokenUsage | None = None
    model: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class InternalSearchData(BaseModel):
    """The passages found, best first."""

    results: list[SearchResult] = Field(default_factory=list)
    seq: int = 0
    usage: TokenUsage | None = None


class InternalSearchResponse(InternalResponse[InternalSearchData]):
    """The standard envelope around search results."""


class InternalQueryData(BaseModel):
    """An answer and what it rests on."""

    answer: str = ""
    citations: list[Citation] = Field(default_factory=list)
    usage: TokenUsage | None = None
    model: str = ""


class InternalQueryResponse(InternalResponse[InternalQueryData]):
    """The standard envelope around an answer."""
