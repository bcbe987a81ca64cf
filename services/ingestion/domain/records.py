"""What ingestion keeps about a document and a job beside what it tells callers. Times are milliseconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from common.models import (
    BaseModel,
    CallContext,
    Collection,
    Document,
    DocumentState,
    DocumentUploadMetadata,
    Error,
    Job,
    JobKind,
    JobStage,
    JobState,
    TokenUsage,
)
from common.store import CollectionRecord, to_datetime
from services.ingestion.domain.texts import Extracted, Passage

__all__ = [
    "DocumentRecord",
    "Extracted",
    "JobRecord",
    "Passage",
    "Vectors",
    "collection_view",
    "searchable_metadata",
]


class DocumentRecord(BaseModel):
    """A document's row. A row not `listed` is invisible.

    Attributes:
        version: The visible version; 0 for none.
        latest: The last version number given out.
        received: The last version whose bytes were stored, or at which the document was deleted.
        seq: Number of the change that made `version` visible.
    """

    collection_uid: str
    collection_id: str
    document_id: str
    filename: str = ""
    metadata: DocumentUploadMetadata = Field(default_factory=DocumentUploadMetadata)
    state: DocumentState = DocumentState.PENDING
    version: int = 0
    latest: int = 0
    received: int = 0
    chunks: int = 0
    bytes: int = 0
    sha256: str = ""
    job_id: str = ""
    error: Error | None = None
    seq: int = 0
    listed: bool = False
    created_at: int = 0
    updated_at: int = 0

    def view(self) -> Document:
        """Returns what callers see."""
        row = self.model_dump(exclude={"created_at", "updated_at"})
        return Document(**row, created_at=to_datetime(self.created_at), updated_at=to_datetime(self.updated_at))


class JobRecord(BaseModel):
    """A job's row.

    Attributes:
        blob_id: Where the bytes are.
        traceparent: The span of the call that brought the document, whose trace the work on it joins; empty without one.
        available_at: When a worker may lease the job: now for a new one, later after a failure, the lease's end while it runs.
        owner: The worker that holds the lease.
        failures: Attempts that ended in a failure of the job's own.
        unfinished: Leases in a row after which nothing more was heard: no batch stored, no failure told.
        publishing: Whether its version may be visible already; from then on it cannot be cancelled.
        kind: What it is for. A reindex names no document and has no bytes.
        model: The model a reindex changes to.
        warnings: What of the document was not read, and why.
        embedded_with: The model that the chunks of a document were first embedded with; what others take is counted apart.
        accepted_at_seq: A change that was there before its version was numbered; -1 where none is known.
    """

    job_id: str = Field(alias="_id")
    tenant_id: str
    collection_uid: str
    collection_id: str
    document_id: str = ""
    version: int = 0
    blob_id: str = ""
    filename: str = ""
    content_type: str = ""
    metadata: DocumentUploadMetadata = Field(default_factory=DocumentUploadMetadata)
    bytes: int = 0
    sha256: str = ""
    context: CallContext
    traceparent: str = ""
    state: JobState = JobState.PENDING
    stage: JobStage = JobStage.STAGE_UNSPECIFIED
    chunks_done: int = 0
    chunks_total: int = 0
    attempts: int = 0
    failures: int = 0
    unfinished: int = 0
    publishing: bool = False
    kind: JobKind = JobKind.INGEST
    model: str = ""
    warnings: list[str] = Field(default_factory=list)
    embedded_with: str = ""
    accepted_at_seq: int = -1
    error: Error | None = None
    seq: int = 0
    available_at: int = 0
    owner: str = ""
    created_at: int = 0
    updated_at: int = 0

    def view(self) -> Job:
        """Returns what callers see."""
        row = self.model_dump(exclude={"created_at", "updated_at"})
        return Job(**row, created_at=to_datetime(self.created_at), updated_at=to_datetime(self.updated_at))


def collection_view(record: CollectionRecord) -> Collection:
    """Returns what callers see of a collection."""
    row = record.model_dump(exclude={"created_at"})
    return Collection(**row, created_at=to_datetime(record.created_at))


@dataclass(frozen=True)
class Vectors:
    """Vectors of passages, one `bytes` a passage: little-endian float32."""

    rows: tuple[bytes, ...]
    model: str
    usage: TokenUsage = field(default_factory=TokenUsage)


def searchable_metadata(job: JobRecord, title: str) -> dict[str, Any]:
    """Returns the metadata a search can filter by and shows: what was given freely, then what is known of the document."""
    given = job.metadata
    known = {
        "title": title,
        "filename": job.filename,
        "source": given.source,
        "description": given.description,
        "tags": given.tags,
        "language": given.language,
        "content_type": job.content_type,
    }
    return {**(given.metadata or {}), **{key: value for key, value in known.items() if value}}
