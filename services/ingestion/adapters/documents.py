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

    async def next_version(self, tenant_id: str, collection: CollectionRecord, document_id: str) -> int:
        """Returns a version number no other call got or will get for this document."""
        rows = self._rows(tenant_id)
        key = {"_id": _key(collection.uid, document_id)}
        fresh = DocumentRecord(
            collection_uid=collection.uid, collection_id=collection.collection_id, document_id=document_id, created_at=now_ms()
        )
        await rows.insert({**key, **fresh.model_dump(mode="json")})
        row = await rows.update_returning(key, {"$inc": {"latest": 1}})
        if row is None:
            raise RuntimeError(f"the row of document {document_id} vanished")
        return int(row["latest"])

    async def get(self, tenant_id: str, collection_uid: str, document_id: str) -> DocumentRecord | None:
        """Returns a listed document."""
        row = await self._rows(tenant_id).find_one({"_id": _key(collection_uid, document_id), "listed": True})
        return None if row is None else DocumentRecord.model_validate(row)

    async def page(self, tenant_id: str, collection_uid: str, after: str, size: int) -> AsyncIterator[DocumentRecord]:
        """Yields at most `size` listed documents whose identifier follows `after`, by identifier."""
        query = {"collection_uid": collection_uid, "document_id": {"$gt": after}, "listed": True}
        async for row in self._rows(tenant_id).find(query, order=[("document_id", 1)], limit=size):
            yield DocumentRecord.model_validate(row)

    async def register(self, job: JobRecord) -> None:
        """Lists a document as received by a job, unless a later version was received already."""
        received = {
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
        key = _of(job)
        if await self._rows(job.tenant_id).update({**key, "received": {"$lt": job.version}}, {"$set": received}):
            await self._set(job, {"version": 0, "received": job.version}, state=DocumentState.PENDING.value)

    async def apply(self, job: JobRecord, change: ChangeRecord) -> None:
        """Brings a document's row in line with the change that made its version visible."""
        if change.deleted:
            return
        await self._set(
            job,
            {"seq": {"$lt": change.seq}},
            state=DocumentState.READY.value,
            version=change.version,
            chunks=change.chunks,
            seq=change.seq,
            updated_at=now_ms(),
        )

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


def _key(collection_uid: str, document_id: str) -> str:
    return f"{collection_uid}/{document_id}"


def _of(job: JobRecord) -> dict[str, str]:
    return {"_id": _key(job.collection_uid, job.document_id)}
