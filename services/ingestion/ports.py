"""What ingestion needs from the world. Every method that names a tenant sees that tenant's rows only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from common.models import CallContext
from common.store import ChangeRecord, ChunkRecord, CollectionRecord
from services.ingestion.domain.records import DocumentRecord, Extracted, JobRecord, Passage, Vectors


class Collections(Protocol):
    """Collections of tenants."""

    async def add(self, record: CollectionRecord) -> bool:
        """Adds a collection; False where its identifier is taken."""
        ...

    async def get(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        """Returns a collection."""
        ...

    def page(self, tenant_id: str, after: str, size: int) -> AsyncIterator[CollectionRecord]:
        """Yields at most `size` collections whose identifier follows `after`, by identifier."""
        ...

    async def raise_seq(self, tenant_id: str, uid: str, seq: int) -> None:
        """Notes that the change `seq` is visible."""
        ...

    async def hide(self, tenant_id: str, uid: str) -> None:
        """Makes a collection invisible and frees its identifier."""
        ...

    def hidden(self) -> AsyncIterator[CollectionRecord]:
        """Yields the collections of all tenants that are hidden but not yet purged."""
        ...

    async def purge(self, tenant_id: str, uid: str) -> None:
        """Removes everything a hidden collection held, and it."""
        ...


class Documents(Protocol):
    """Documents of collections."""

    async def next_version(self, tenant_id: str, collection: CollectionRecord, document_id: str) -> int:
        """Returns a version number no other call got or will get for this document."""
        ...

    async def get(self, tenant_id: str, collection_uid: str, document_id: str) -> DocumentRecord | None:
        """Returns a listed document."""
        ...

    def page(self, tenant_id: str, collection_uid: str, after: str, size: int) -> AsyncIterator[DocumentRecord]:
        """Yields at most `size` listed documents whose identifier follows `after`, by identifier."""
        ...

    async def register(self, job: JobRecord) -> None:
        """Lists a document as received by a job, unless a later version was received already."""
        ...

    async def apply(self, job: JobRecord, change: ChangeRecord) -> None:
        """Brings a document's row in line with the change that made its version visible."""
        ...

    async def fail(self, job: JobRecord) -> None:
        """Notes that a document's last job failed."""
        ...

    async def unlist(self, tenant_id: str, collection_uid: str, document_id: str, change: ChangeRecord) -> None:
        """Makes a deleted document invisible. Its version counter stays, so that no version number is used twice."""
        ...


class Jobs(Protocol):
    """The queue of work."""

    async def add(self, job: JobRecord) -> bool:
        """Adds a job; False where its identifier is taken."""
        ...

    async def get(self, tenant_id: str, job_id: str) -> JobRecord | None:
        """Returns a job."""
        ...

    async def lease(self, owner: str, now_ms: int, until_ms: int) -> JobRecord | None:
        """Gives the oldest job that is available to `owner` until `until_ms`; a job whose lease ran out is available."""
        ...

    async def forget_blobs_before(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> list[str]:
        """Returns the blobs that jobs for versions before `version` still name, and makes the jobs forget them."""
        ...

    async def change(self, job: JobRecord, **fields: Any) -> bool:
        """Changes a leased job's fields, here and in the record; False, and no change, where the lease is no longer held."""
        ...


class Changes(Protocol):
    """Change logs of collections."""

    async def head(self, tenant_id: str, collection_uid: str) -> int:
        """Returns the number of the last change; 0 before the first."""
        ...

    async def last_of(self, tenant_id: str, collection_uid: str, document_id: str) -> ChangeRecord | None:
        """Returns the last change of a document."""
        ...

    async def append(self, tenant_id: str, collection_uid: str, change: ChangeRecord) -> bool:
        """Adds a change under its number, atomically; False where the number is taken."""
        ...


class Chunks(Protocol):
    """Passages with their vectors."""

    async def ordinals(self, job: JobRecord) -> set[int]:
        """Returns which chunks of the job's version are stored."""
        ...

    async def add(self, job: JobRecord, chunks: Sequence[ChunkRecord]) -> None:
        """Stores chunks; those stored already stay as they are."""
        ...

    async def delete_before(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> None:
        """Removes the chunks of a document's versions before `version`."""
        ...


class Blobs(Protocol):
    """The bytes that were received."""

    async def write(self, tenant_id: str, blob_id: str, number: int, piece: bytes) -> None:
        """Stores the piece `number` of a blob."""
        ...

    async def read(self, tenant_id: str, blob_id: str) -> bytes:
        """Returns a blob whole."""
        ...

    async def delete(self, tenant_id: str, blob_id: str) -> None:
        """Removes a blob, if there is one."""
        ...


class Reader(Protocol):
    """Gets text out of bytes and cuts it."""

    async def extract(self, data: bytes, content_type: str) -> Extracted:
        """Returns a document's text. Raises UnreadableDocumentError when there is none to get."""
        ...

    async def chunk(self, extracted: Extracted) -> list[Passage]:
        """Returns the passages of a text, in order."""
        ...


class Embedder(Protocol):
    """Computes vectors."""

    async def embed(self, texts: Sequence[str], context: CallContext) -> Vectors:
        """Returns the vectors of passages. Raises MallaError where the embedding server cannot."""
        ...
