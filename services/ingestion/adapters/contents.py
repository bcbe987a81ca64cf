"""Change logs, chunks and blobs in the record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence

from common.store import ChangeRecord, ChunkRecord, Rows, Store, now_ms
from services.ingestion.domain.records import JobRecord


class MongoChanges:
    """Rows of `changes`, keyed by collection and number: inserting one is the atomic step that makes a version visible."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def last(self, tenant_id: str, collection_uid: str) -> ChangeRecord | None:
        """Returns the last change; None before the first."""
        row = await self._rows(tenant_id).find_one({"collection_uid": collection_uid}, order=[("seq", -1)])
        return None if row is None else ChangeRecord.model_validate(row)

    async def all_of(self, tenant_id: str, collection_uid: str) -> list[ChangeRecord]:
        """Returns the whole log, in order."""
        rows = self._rows(tenant_id).find({"collection_uid": collection_uid}, order=[("seq", 1)])
        return [ChangeRecord.model_validate(row) async for row in rows]

    async def last_of(self, tenant_id: str, collection_uid: str, document_id: str) -> ChangeRecord | None:
        """Returns the last change of a document; of the model alone where none is named."""
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
    """Rows of `chunks`, one for each model whose vector a passage has, never changed once written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ordinals(self, job: JobRecord) -> Mapping[str, set[int]]:
        """Returns which chunks of the job's version are stored, by the model of their vectors."""
        query = {"collection_uid": job.collection_uid, "document_id": job.document_id, "version": job.version}
        stored: defaultdict[str, set[int]] = defaultdict(set)
        async for row in self._rows(job.tenant_id).find(query, order=[("ordinal", 1)], omit=("vector", "text", "metadata")):
            stored[row["model"]].add(int(row["ordinal"]))
        return stored

    async def of_version(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> list[ChunkRecord]:
        """Returns the chunks of a document's version, one for each model whose vector it has."""
        query = {"collection_uid": collection_uid, "document_id": document_id, "version": version}
        return [ChunkRecord.model_validate(row) async for row in self._rows(tenant_id).find(query, order=[("ordinal", 1)])]

    async def add(self, job: JobRecord, chunks: Sequence[ChunkRecord]) -> None:
        """Stores chunks of one model; those stored already stay as they are."""
        uid = job.collection_uid
        await self._rows(job.tenant_id).insert_missing(
            [{"_id": f"{uid}/{chunk.chunk_id}/{chunk.model}", "collection_uid": uid, **chunk.model_dump()} for chunk in chunks]
        )

    async def delete_model(self, tenant_id: str, collection_uid: str, model: str) -> None:
        """Removes a collection's vectors of a model."""
        await self._rows(tenant_id).delete({"collection_uid": collection_uid, "model": model})

    async def delete_other_models(self, tenant_id: str, collection_uid: str, model: str) -> None:
        """Removes a collection's vectors of all models but one."""
        await self._rows(tenant_id).delete({"collection_uid": collection_uid, "model": {"$ne": model}})

    async def delete_before(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> None:
        """Removes the chunks of a document's versions before `version`."""
        query = {"collection_uid": collection_uid, "document_id": document_id, "version": {"$lt": version}}
        await self._rows(tenant_id).delete(query)

    async def delete_of(self, job: JobRecord, model: str = "") -> None:
        """Removes the chunks of the job's version; those of one model where one is named."""
        query = {"collection_uid": job.collection_uid, "document_id": job.document_id, "version": job.version}
        await self._rows(job.tenant_id).delete({**query, "model": model} if model else query)

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "chunks")


class MongoBlobs:
    """Rows of `blobs`, one a piece. Plain rows instead of GridFS: they are keyed by tenant like every other.

    A row of `uploads` stands for a blob that no job names yet. It is there before the first piece and goes after the job's row
    is there, so that a crash at any moment leaves no bytes that nobody knows of.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, tenant_id: str, blob_id: str, number: int, piece: bytes) -> None:
        """Stores the piece `number` of a blob, which is unclaimed from its first piece on."""
        if number == 0:
            await self._uploads(tenant_id).insert({"_id": blob_id, "begun_at": now_ms()})
        row = {"_id": f"{blob_id}/{number:06d}", "blob_id": blob_id, "n": number, "data": piece}
        await self._rows(tenant_id).insert(row)

    async def claim(self, tenant_id: str, *blob_ids: str) -> None:
        """Notes that jobs name these blobs."""
        # With `$in` the embedded database reads all rows: those of uploads under way are few.
        await self._uploads(tenant_id).delete({"_id": blob_ids[0] if len(blob_ids) == 1 else {"$in": list(blob_ids)}})

    async def unclaimed(self, before_ms: int) -> AsyncIterator[tuple[str, str]]:
        """Yields tenant and identifier of the blobs begun before a time that no job is known to name."""
        async for row in self._store.all_tenants("uploads").find({"begun_at": {"$lt": before_ms}}, order=[("_id", 1)]):
            yield row["tenant_id"], row["_id"]

    async def read(self, tenant_id: str, blob_id: str) -> bytes:
        """Returns a blob whole."""
        rows = self._rows(tenant_id).find({"blob_id": blob_id}, order=[("n", 1)])
        return b"".join([bytes(row["data"]) async for row in rows])

    async def delete(self, tenant_id: str, blob_id: str) -> None:
        """Removes a blob, if there is one."""
        await self._rows(tenant_id).delete({"blob_id": blob_id})
        await self.claim(tenant_id, blob_id)

    def _uploads(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "uploads")

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "blobs")
