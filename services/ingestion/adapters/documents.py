"""Documents in the record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from common.models import DocumentState
from common.store import ChangeRecord, CollectionRecord, Rows, Store, now_ms
from services.ingestion.domain.records import DocumentRecord, JobRecord


class MongoDocuments:
    """Rows of `documents`, one a document, keyed by collection and identifier."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def first_version(self, tenant_id: str, collection: CollectionRecord, document_id: str) -> int | None:
        """Returns 1 for a document that never had a version number, and nobody else gets it; None for any other."""
        fresh = DocumentRecord(
            collection_uid=collection.uid,
            collection_id=collection.collection_id,
            document_id=document_id,
            latest=1,
            created_at=now_ms(),
        )
        row = {"_id": _key(collection.uid, document_id), **fresh.model_dump(mode="json")}
        return fresh.latest if await self._rows(tenant_id).insert(row) else None

    async def next_version(self, tenant_id: str, collection: CollectionRecord, document_id: str) -> int:
        """Returns a version number no other call got or will get for this document."""
        key = {"_id": _key(collection.uid, document_id)}
        # A row stays for good, until its collection goes: where it cannot be added, it is there.
        while True:
            row = await self._rows(tenant_id).update_returning(key, {"$inc": {"latest": 1}})
            if row is not None:
                return int(row["latest"])
            first = await self.first_version(tenant_id, collection, document_id)
            if first is not None:
                return first

    async def get(self, tenant_id: str, collection_uid: str, document_id: str) -> DocumentRecord | None:
        """Returns a listed document."""
        row = await self._rows(tenant_id).find_one({"_id": _key(collection_uid, document_id), "listed": True})
        return None if row is None else DocumentRecord.model_validate(row)

    async def page(self, tenant_id: str, collection_uid: str, after: str, size: int) -> AsyncIterator[DocumentRecord]:
        """Yields at most `size` listed documents whose identifier follows `after`, by identifier."""
        query = {"collection_uid": collection_uid, "document_id": {"$gt": after}, "listed": True}
        async for row in self._rows(tenant_id).find(query, order=[("document_id", 1)], limit=size):
            yield DocumentRecord.model_validate(row)

    async def register(self, job: JobRecord) -> DocumentRecord | None:
        """Lists a document as received by a job, unless a later version was received already; returns it where it is listed."""
        earlier = {**_of(job), "received": {"$lt": job.version}}
        row = await self._rows(job.tenant_id).update_returning(earlier, {"$set": _received(job)})
        if row is not None and job.version == 1:  # never visible and never failed before
            return DocumentRecord.model_validate(row)
        if row is not None:
            await self._set(job, {"version": 0, "received": job.version}, state=DocumentState.PENDING.value)
        return await self.get(job.tenant_id, job.collection_uid, job.document_id)

    async def apply(self, job: JobRecord, change: ChangeRecord) -> None:
        """Brings a document's row in line with the change that made its version visible; and with the job, if it did that.

        So a document is listed at the latest now: a crash may have come before it was registered, and acknowledged.
        """
        if change.deleted:
            return
        visible = {
            "state": DocumentState.READY.value,
            "version": change.version,
            "chunks": change.chunks,
            "seq": change.seq,
            "updated_at": now_ms(),
        }
        earlier = {**_of(job), "seq": {"$lt": change.seq}}
        if change.version == job.version:
            own = {**earlier, "received": {"$lte": job.version}}
            if await self._rows(job.tenant_id).update(own, {"$set": {**_received(job), **visible}}):
                return
        await self._rows(job.tenant_id).update(earlier, {"$set": visible})

    async def fail(self, job: JobRecord) -> None:
        """Notes that a document's last job failed."""
        error = job.error.model_dump(mode="json") if job.error else None
        await self._set(job, {"job_id": job.job_id}, error=error, updated_at=now_ms())
        await self._set(job, {"job_id": job.job_id, "version": 0}, state=DocumentState.FAILED.value)

    async def revive(self, job: JobRecord) -> None:
        """Notes that a document's last job, which failed, is tried again."""
        await self._set(job, {"job_id": job.job_id}, error=None, updated_at=now_ms())
        await self._set(job, {"job_id": job.job_id, "version": 0}, state=DocumentState.PENDING.value)

    async def unlist(self, tenant_id: str, collection_uid: str, document_id: str, change: ChangeRecord) -> None:
        """Makes a deleted document invisible. Its version counter stays, so that no version number is used twice."""
        gone = {"listed": False, "version": 0, "chunks": 0, "seq": change.seq, "state": DocumentState.PENDING.value}
        await self._rows(tenant_id).update(
            {"_id": _key(collection_uid, document_id), "received": {"$lt": change.version}},
            {"$set": {**gone, "received": change.version, "sha256": "", "updated_at": now_ms()}},
        )

    async def _set(self, job: JobRecord, condition: dict[str, Any], **fields: Any) -> None:
        await self._rows(job.tenant_id).update({**_of(job), **condition}, {"$set": fields})

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "documents")


def _received(job: JobRecord) -> dict[str, Any]:
    return {
        "received": job.version,
        "filename": job.filename,
        "metadata": job.metadata.model_dump(mode="json"),
        "bytes": job.bytes,
        "sha256": job.sha256,
        "job_id": job.job_id,
        "error": None,
        "listed": True,
        "updated_at": now_ms(),
    }


def _key(collection_uid: str, document_id: str) -> str:
    return f"{collection_uid}/{document_id}"


def _of(job: JobRecord) -> dict[str, str]:
    return {"_id": _key(job.collection_uid, job.document_id)}
