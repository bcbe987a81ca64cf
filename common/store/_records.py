"""Rows that more than one server reads: written by ingestion, followed by query.

A collection's changes are the truth about what is visible. Inserting change number n+1 is the one atomic step that makes a
version visible and retires the one before; a document's row and a collection's `seq` follow from it.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from common.models import BaseModel


class CollectionRecord(BaseModel):
    """A collection. `uid` is new at each creation, so that nothing of a deleted collection shows up in its successor.

    Attributes:
        request_id: Idempotency key of the request that created it.
        dense_weight: How much vectors count beside words in a hybrid search, from 0 to 1; None for the server's own.
        model: The embedding model at change `seq`; empty before the first change.
        reindex_job: The last job that began to change the model; it has the collection to itself until it has ended.
    """

    uid: str = Field(alias="_id")
    tenant_id: str
    collection_id: str
    language: str
    description: str = ""
    seq: int = 0
    created_at: int
    deleted: bool = False
    request_id: str = ""
    dense_weight: float | None = None
    model: str = ""
    reindex_job: str = ""


class ChangeRecord(BaseModel):
    """One entry of a collection's change log: version `version` of a document became visible, or the document was deleted.

    One that names no document is a change of the model alone: from it on, the vectors of `model` of all documents are searched.

    Attributes:
        model: The embedding model of the collection from this change on.
    """

    seq: int
    document_id: str
    version: int
    chunks: int = 0
    deleted: bool = False
    job_id: str = ""
    model: str = ""

    @property
    def switches(self) -> bool:
        """Whether it changes the model and no document."""
        return not self.document_id


class ChunkRecord(BaseModel):
    """A passage with its vector of one model: `dimensions` little-endian float32, L2-normalised."""

    chunk_id: str
    document_id: str
    version: int
    ordinal: int
    text: str
    heading: str = ""
    page: int | None = None
    start_offset: int = 0
    end_offset: int = 0
    vector: bytes
    model: str
    metadata: dict[str, Any] = Field(default_factory=dict)
