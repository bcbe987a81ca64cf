"""Change logs, chunks and blobs in the record."""

from __future__ import annotations

from collections.abc import Sequence

from common.store import ChangeRecord, ChunkRecord, Rows, Store
from services.ingestion.domain.records import JobRecord


class MongoChanges:
    """Rows of `changes`, keyed by collection and number: inserting one is the atomic step that makes a version visible."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def head(self, tenant_id: str, collection_uid: str) -> int:
        """Returns the number of the last change; 0 before the first."""
        row = await self._rows(tenant_id).find_one({"collection_uid": collection_uid}, order=[("seq", -1)])
        return 0 if row is None else int(row["seq"])

    async def last_of(self, tenant_id: str, collection_uid: str, document_id: str) -> ChangeRecord | None:
        """Returns the last change of a document."""
        query = {"collection_uid": collection_uid, "document_id": document_id}
        row = await self._rows(tenant_id).find_one(query, order=[("seq", -1)])
        return None if row is None else ChangeRecord.model_validate(row)

    async def append(self, tenant_id: str, collection_uid: str, change: ChangeRecord) -> bool:
        """Adds a change under its number, atomically; False where the number is taken."""
        key = {"_id": f"{collection_uid}/{change.seq:012d}", "collection_uid": collection_uid}
        return await self._rows(tenant_id).insert({**key, **change.model_dump()})

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "changes")


class MongoChunks:
    """Rows of `chunks`, never changed once written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ordinals(self, job: JobRecord) -> set[int]:
        """Returns which chunks of the job's version are stored."""
        query = {"collection_uid": job.collection_uid, "document_id": job.document_id, "version": job.version}
        rows = self._rows(job.tenant_id).find(query, order=[("ordinal", 1)], omit=("vector", "text", "metadata"))
        return {int(row["ordinal"]) async for row in rows}

    async def add(self, job: JobRecord, chunks: Sequence[ChunkRecord]) -> None:
        """Stores chunks; those stored already stay as they are."""
        await self._rows(job.tenant_id).insert_missing(
            [
                {"_id": f"{job.collection_uid}/{chunk.chunk_id}", "collection_uid": job.collection_uid, **chunk.model_dump()}
                for chunk in chunks
            ]
        )

    async def delete_before(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> None:
        """Removes the chunks of a document's versions before `version`."""
        query = {"collection_uid": collection_uid, "document_id": document_id, "version": {"$lt": version}}
        await self._rows(tenant_id).delete(query)

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "chunks")


class MongoBlobs:
    """Rows of `blobs`, one a piece. Plain rows instead of GridFS: they are keyed by tenant like every other."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, tenant_id: str, blob_id: str, number: int, piece: bytes) -> None:
        """Stores the piece `number` of a blob."""
        row = {"_id": f"{blob_id}/{number:06d}", "blob_id": blob_id, "n": number, "data": piece}
        await self._rows(tenant_id).insert(row)

    async def read(self, tenant_id: str, blob_id: str) -> bytes:
        """Returns a blob whole."""
        rows = self._rows(tenant_id).find({"blob_id": blob_id}, order=[("n", 1)])
        return b"".join([bytes(row["data"]) async for row in rows])

    async def delete(self, tenant_id: str, blob_id: str) -> None:
        """Removes a blob, if there is one."""
        await self._rows(tenant_id).delete({"blob_id": blob_id})

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "blobs")
