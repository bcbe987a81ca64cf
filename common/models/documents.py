"""Collections, documents and jobs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from common.base_model import BaseModel
from common.models.base import BaseResponse, Error, InternalResponse


class DocumentState(StrEnum):
    """Where a document stands."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


class JobState(StrEnum):
    """Where a job stands."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class JobStage(StrEnum):
    """What a running job does now."""

    STAGE_UNSPECIFIED = "STAGE_UNSPECIFIED"
    EXTRACT = "EXTRACT"
    CHUNK = "CHUNK"
    EMBED = "EMBED"
    PUBLISH = "PUBLISH"


class JobKind(StrEnum):
    """What a job is for."""

    KIND_UNSPECIFIED = "KIND_UNSPECIFIED"
    INGEST = "INGEST"
    REINDEX = "REINDEX"


class Collection(BaseModel):
    """A set of documents that are searched together."""

    collection_id: str = ""
    language: str = ""
    description: str = ""
    seq: int = 0
    created_at: datetime | None = None
    dense_weight: float | None = None
    model: str = ""


class DocumentUploadMetadata(BaseModel):
    """What is known about a document beside its bytes."""

    title: str = ""
    source: str = ""
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    language: str = ""
    content_type: str = ""
    metadata: dict[str, Any] | None = None


class Document(BaseModel):
    """A document and where it stands."""

    document_id: str = ""
    collection_id: str = ""
    filename: str = ""
    metadata: DocumentUploadMetadata | None = None
    state: DocumentState = DocumentState.STATE_UNSPECIFIED
    version: int = 0
    chunks: int = 0
    bytes: int = 0
    sha256: str = ""
    job_id: str = ""
    error: Error | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Job(BaseModel):
    """The work of making one version of a document searchable, or of changing the embedding model of a collection."""

    job_id: str = ""
    document_id: str = ""
    collection_id: str = ""
    version: int = 0
    state: JobState = JobState.STATE_UNSPECIFIED
    stage: JobStage = JobStage.STAGE_UNSPECIFIED
    chunks_done: int = 0
    chunks_total: int = 0
    attempts: int = 0
    error: Error | None = None
    seq: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    kind: JobKind = JobKind.KIND_UNSPECIFIED
    model: str = ""
    warnings: list[str] = Field(default_factory=list)


class CollectionResponse(BaseResponse):
    """One collection."""

    collection: Collection | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class CollectionsListResponse(BaseResponse):
    """A page of collections."""

    collections: list[Collection] = Field(default_factory=list)
    next_page_token: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class DeleteCollectionResponse(BaseResponse):
    """Confirms the deletion."""

    metadata: dict[str, Any] = Field(default_factory=dict)


class DocumentUploadResponse(BaseResponse):
    """Acknowledges a document."""

    document: Document | None = None
    job_id: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class DocumentListResponse(BaseResponse):
    """A page of documents."""

    documents: list[Document] = Field(default_factory=list)
    next_page_token: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class DocumentResponse(BaseResponse):
    """One document."""

    document: Document | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class DeleteDocumentResponse(BaseResponse):
    """Confirms the deletion."""

    seq: int = 0
    metadata: dict[str, Any] = Field(default_factory=dict)


class JobResponse(BaseResponse):
    """One job."""

    job: Job | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class JobListResponse(BaseResponse):
    """A page of jobs."""

    jobs: list[Job] = Field(default_factory=list)
    next_page_token: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class InternalIngestionData(BaseModel):
    """What was taken in."""

    document: Document | None = None
    job_id: str = ""


class InternalIngestionResponse(InternalResponse[InternalIngestionData]):
    """The standard envelope around an ingested document."""
