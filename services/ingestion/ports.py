"""What ingestion needs from the world. Every method that names a tenant sees that tenant's rows only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from common.models import CallContext, JobState
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

    async def lately(self, tenant_id: str, collection_id: str, uid: str) -> CollectionRecord | None:
        """Returns a collection as it was less than a second ago."""
        ...

    def page(self, tenant_id: str, after: str, size: int) -> AsyncIterator[CollectionRecord]:
        """Yields at most `size` collections whose identifier follows `after`, by identifier."""
        ...

    async def raise_seq(self, tenant_id: str, uid: str, change: ChangeRecord) -> None:
        """Notes that a change is visible, and the model from it on, unless a later one was noted."""
        ...

    async def claim(self, tenant_id: str, uid: str, holder: str, job_id: str) -> bool:
        """Makes a job the one that changes the collection's model; False where it is no longer `holder` that is."""
        ...

    async def change(self, tenant_id: str, uid: str, fields: Mapping[str, Any]) -> CollectionRecord | None:
        """Sets fields of a collection and returns it; None where it is gone."""
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

    async def first_version(self, tenant_id: str, collection: CollectionRecord, document_id: str) -> int | None:
        """Returns 1 for a document that never had a version number, and nobody else gets it; None for any other."""
        ...

    async def next_version(self, tenant_id: str, collection: CollectionRecord, document_id: str) -> int:
        """Returns a version number no other call got or will get for this document."""
        ...

    async def get(self, tenant_id: str, collection_uid: str, document_id: str) -> DocumentRecord | None:
        """Returns a listed document."""
        ...

    def page(self, tenant_id: str, collection_uid: str, after: str, size: int) -> AsyncIterator[DocumentRecord]:
        """Yields at most `size` listed documents whose identifier follows `after`, by identifier."""
        ...

    async def register(self, job: JobRecord) -> DocumentRecord | None:
        """Lists a document as received by a job, unless a later version was received already; returns it where it is listed."""
        ...

    async def apply(self, job: JobRecord, change: ChangeRecord) -> None:
        """Brings a document's row in line with the change that made its version visible; and with the job, if it did that."""
        ...

    async def fail(self, job: JobRecord) -> None:
        """Notes that a document's last job failed."""
        ...

    async def revive(self, job: JobRecord) -> None:
        """Notes that a document's last job, which failed, is tried again."""
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

    def page(
        self, tenant_id: str, collection_uid: str, state: JobState, after: tuple[int, str] | None, size: int
    ) -> AsyncIterator[JobRecord]:
        """Yields at most `size` jobs, the newest first, that follow the one of time and identifier `after`."""
        ...

    async def cancel(self, tenant_id: str, job_id: str, now_ms: int) -> bool:
        """Cancels a job; False, and no change, where it has ended or its version may be visible already."""
        ...

    async def retry(self, tenant_id: str, job_id: str, now_ms: int) -> bool:
        """Makes a failed job available again; False, and no change, where it has not failed or its bytes are gone."""
        ...

    async def names_blob(self, tenant_id: str, blob_id: str) -> bool:
        """Returns whether a job names these bytes."""
        ...

    async def forget_blob(self, job: JobRecord) -> None:
        """Makes a job forget its bytes, which are removed."""
        ...

    def unreleased(self) -> AsyncIterator[JobRecord]:
        """Yields the cancelled jobs of all tenants whose bytes are not removed yet."""
        ...

    async def change(self, job: JobRecord, **fields: Any) -> bool:
        """Changes a leased job's fields, here and in the record; False, and no change, where the lease is no longer held."""
        ...


class Changes(Protocol):
    """Change logs of collections."""

    async def last(self, tenant_id: str, collection_uid: str) -> ChangeRecord | None:
        """Returns the last change; None before the first."""
        ...

    async def all_of(self, tenant_id: str, collection_uid: str) -> Sequence[ChangeRecord]:
        """Returns the whole log, in order."""
        ...

    async def last_of(self, tenant_id: str, collection_uid: str, document_id: str) -> ChangeRecord | None:
        """Returns the last change of a document; of the model alone where none is named."""
        ...

    async def append(self, tenant_id: str, collection_uid: str, change: ChangeRecord) -> bool:
        """Adds a change under its number, atomically; False where the number is taken."""
        ...


class Chunks(Protocol):
    """Passages with their vectors."""

    async def ordinals(self, job: JobRecord) -> Mapping[str, set[int]]:
        """Returns which chunks of the job's version are stored, by the model of their vectors."""
        ...

    async def of_version(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> Sequence[ChunkRecord]:
        """Returns the chunks of a document's version, one for each model whose vector it has."""
        ...

    async def add(self, job: JobRecord, chunks: Sequence[ChunkRecord]) -> None:
        """Stores chunks of one model; those stored already stay as they are."""
        ...

    async def delete_before(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> None:
        """Removes the chunks of a document's versions before `version`."""
        ...

    async def delete_of(self, job: JobRecord, model: str = "") -> None:
        """Removes the chunks of the job's version; those of one model where one is named."""
        ...

    async def delete_model(self, tenant_id: str, collection_uid: str, model: str) -> None:
        """Removes a collection's vectors of a model."""
        ...

    async def delete_other_models(self, tenant_id: str, collection_uid: str, model: str) -> None:
        """Removes a collection's vectors of all models but one."""
        ...


class Blobs(Protocol):
    """The bytes that were received."""

    async def write(self, tenant_id: str, blob_id: str, number: int, piece: bytes) -> None:
        """Stores the piece `number` of a blob, which is unclaimed from its first piece on."""
        ...

    async def claim(self, tenant_id: str, *blob_ids: str) -> None:
        """Notes that jobs name these blobs."""
        ...

    def unclaimed(self, before_ms: int) -> AsyncIterator[tuple[str, str]]:
        """Yields tenant and identifier of the blobs begun before a time that no job is known to name."""
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

    async def embed(self, texts: Sequence[str], context: CallContext, model: str = "") -> Vectors:
        """Returns the vectors of passages, of the embedding server's own model where none is named.

        Raises ModelNotServedError, and MallaError where the embedding server cannot.
        """
        ...
