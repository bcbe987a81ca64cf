"""Search, and answers with citations."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from common.base_model import BaseModel
from common.models.base import BaseResponse, InternalResponse
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


class ScorePart(BaseModel):
    """What one index added to a score."""

    name: str = ""
    score: float | None = None
    normalised: float = 0.0
    weight: float = 0.0
    rank: int = 0


class Explanation(BaseModel):
    """How the score of a passage came about."""

    parts: list[ScorePart] = Field(default_factory=list)
    fused_score: float = 0.0
    fused_rank: int = 0
    coverage: float = 0.0
    rerank_score: float | None = None
    title_words: list[str] = Field(default_factory=list)


class SearchResult(BaseModel):
    """One passage: a chunk, or several of a section that follow each other."""

    chunk_id: str = ""
    document_id: str = ""
    text: str = ""
    score: float = 0.0
    metadata: dict[str, Any] | None = None
    page: int | None = None
    start_offset: int = 0
    end_offset: int = 0
    chunk_ids: list[str] = Field(default_factory=list)
    also_in: list[str] = Field(default_factory=list)
    explanation: Explanation | None = None


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


class IndexState(StrEnum):
    """What comparing an index with the record showed."""

    OK = "OK"
    REBUILT = "REBUILT"
    DIFFERS = "DIFFERS"


class IndexCheck(BaseModel):
    """One index, compared with the record."""

    collection_id: str = ""
    state: IndexState | None = None
    differences: list[str] = Field(default_factory=list)
    seq: int = 0
    documents: int = 0
    chunks: int = 0
    size_bytes: int = 0


class InternalIndexData(BaseModel):
    """The indexes that were compared, by collection."""

    checks: list[IndexCheck] = Field(default_factory=list)


class InternalIndexResponse(InternalResponse[InternalIndexData]):
    """The standard envelope around the comparison."""
