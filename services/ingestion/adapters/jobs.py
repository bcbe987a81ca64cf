"""The queue of work in the record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from typing import Any

from pydantic import BaseModel

from common.models import JobKind, JobState
from common.store import Rows, Store
from services.ingestion.domain.records import JobRecord

_OVERTAKEN_MS = 1000
_OPEN = [JobState.PENDING.value, JobState.RUNNING.value]


class MongoJobs:
    """Rows of `jobs`. A lease is `available_at` in the future: a worker that goes silent loses it by itself."""

    def __init__(self, store: Store, on_change: Callable[[str, JobRecord | None], None] | None = None) -> None:
        """`on_change` is called with the identifier of each job that is changed here, and the job where it is known whole."""
        self._store = store
        self._on_change = on_change or _nobody
        self._looked_ms = -_OVERTAKEN_MS

    async def add(self, job: JobRecord) -> bool:
        """Adds a job; False where its identifier is taken."""
        if not await self._rows(job.tenant_id).insert(job.model_dump(mode="json", by_alias=True)):
            return False
        self._on_change(job.job_id, job)
        return True

    async def get(self, tenant_id: str, job_id: str) -> JobRecord | None:
        """Returns a job."""
        row = await self._rows(tenant_id).find_one({"_id": job_id})
        return None if row is None else JobRecord.model_validate(row)

    async def lease(self, owner: str, now_ms: int, until_ms: int) -> JobRecord | None:
        """Gives the oldest job that is available to `owner` until `until_ms`; a job whose lease ran out is available."""
        change = {
            "$set": {"state": JobState.RUNNING.value, "owner": owner, "available_at": until_ms, "updated_at": now_ms},
            "$inc": {"attempts": 1, "unfinished": 1},
        }
        # One state after the other, each found by the index; now and then those begun first, or others overtake them for ever.
        states = [JobState.PENDING, JobState.RUNNING]
        if not 0 <= now_ms - self._looked_ms < _OVERTAKEN_MS:
            states.reverse()
            self._looked_ms = now_ms
        for state in states:
            available = {"state": state.value, "available_at": {"$lte": now_ms}}
            row = await self._store.all_tenants("jobs").update_returning(available, change, order=[("available_at", 1)])
            if row is not None:
                job = JobRecord.model_validate(row)
                self._on_change(job.job_id, job)
                return job
        return None

    async def forget_blobs_before(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> list[str]:
        """Returns the blobs that jobs for versions before `version` still name, and makes the jobs forget them."""
        query = {
            "collection_uid": collection_uid,
            "document_id": document_id,
            "version": {"$lt": version},
            "blob_id": {"$ne": ""},
        }
        rows = self._rows(tenant_id)
        found = [row async for row in rows.find(query, order=[("_id", 1)])]
        for row in found:
            await rows.update({"_id": row["_id"]}, {"$set": {"blob_id": ""}})
        return [row["blob_id"] for row in found]

    async def page(
        self, tenant_id: str, collection_uid: str, state: JobState, after: tuple[int, str] | None, size: int
    ) -> AsyncIterator[JobRecord]:
        """Yields at most `size` jobs, the newest first, that follow the one of time and identifier `after`."""
        query: dict[str, Any] = {"collection_uid": collection_uid} if collection_uid else {}
        if state is not JobState.STATE_UNSPECIFIED:
            query["state"] = state.value
        rows, order = self._rows(tenant_id), [("created_at", -1), ("_id", -1)]
        if after is None:
            async for row in rows.find(query, order=order, limit=size):
                yield JobRecord.model_validate(row)
            return
        # The few of the same millisecond apart from those before it: no index helps with one or the other.
        created_at, job_id = after
        same = [row async for row in rows.find({**query, "created_at": created_at}, order=order) if row["_id"] < job_id][:size]
        for row in same:
            yield JobRecord.model_validate(row)
        if left := size - len(same):
            async for row in rows.find({**query, "created_at": {"$lt": created_at}}, order=order, limit=left):
                yield JobRecord.model_validate(row)

    async def cancel(self, tenant_id: str, job_id: str, now_ms: int) -> bool:
        """Cancels a job; False, and no change, where it has ended or its version may be visible already."""
        query = {"_id": job_id, "state": {"$in": _OPEN}, "publishing": {"$ne": True}}
        change = {"state": JobState.CANCELLED.value, "error": None, "updated_at": now_ms}
        return await self._told(job_id, self._rows(tenant_id).update(query, {"$set": change}))

    async def retry(self, tenant_id: str, job_id: str, now_ms: int) -> bool:
        """Makes a failed job available again; False, and no change, where it has not failed or its bytes are gone."""
        failed = {"_id": job_id, "state": JobState.FAILED.value}
        fresh = {"failures": 0, "unfinished": 0, "error": None, "available_at": now_ms, "updated_at": now_ms}
        change = {**fresh, "state": JobState.PENDING.value}
        for with_work in ({"blob_id": {"$ne": ""}}, {"kind": JobKind.REINDEX.value}):
            if await self._told(job_id, self._rows(tenant_id).update({**failed, **with_work}, {"$set": change})):
                return True
        return False

    async def names_blob(self, tenant_id: str, blob_id: str) -> bool:
        """Returns whether a job names these bytes."""
        return await self._rows(tenant_id).find_one({"blob_id": blob_id}) is not None

    async def forget_blob(self, job: JobRecord) -> None:
        """Makes a job forget its bytes, which are removed."""
        await self._rows(job.tenant_id).update({"_id": job.job_id}, {"$set": {"blob_id": ""}})

    async def unreleased(self) -> AsyncIterator[JobRecord]:
        """Yields the cancelled jobs of all tenants whose bytes are not removed yet."""
        query = {"state": JobState.CANCELLED.value, "blob_id": {"$ne": ""}}
        async for row in self._store.all_tenants("jobs").find(query, order=[("_id", 1)]):
            yield JobRecord.model_validate(row)

    async def change(self, job: JobRecord, **fields: Any) -> bool:
        """Changes a leased job's fields, here and in the record; False, and no change, where the lease is no longer held."""
        held = {"_id": job.job_id, "owner": job.owner, "state": JobState.RUNNING.value}
        plain = {name: _plain(value) for name, value in fields.items()}
        if not await self._rows(job.tenant_id).update(held, {"$set": plain}):
            return False
        for name, value in fields.items():
            setattr(job, name, value)
        self._on_change(job.job_id, job)
        return True

    async def _told(self, job_id: str, changing: Awaitable[bool]) -> bool:
        changed = await changing
        self._on_change(job_id, None)
        return changed

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "jobs")


def _nobody(_job_id: str, _job: JobRecord | None) -> None:
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
