"""Jobs in hand: listed, cancelled, tried again; and what cancelled ones and broken uploads leave behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from common.context import Context
from common.errors import InvalidArgumentError, NotFoundError
from common.models import Error, Job, JobKind, JobState
from common.paging import DEFAULT_PAGE_SIZE, filled, from_page_token, to_page_token
from common.store import now_ms
from services.ingestion.domain.errors import JobStateError
from services.ingestion.domain.records import JobRecord
from services.ingestion.ports import Blobs, Chunks, Collections, Documents, Jobs
from services.ingestion.usecases.collections import existing
from services.ingestion.usecases.reindex import Abandon

log = logging.getLogger("malla.ingestion")

_LATEST_MS = 2**53

_CANCELLED = Error(
    type="JOB_CANCELLED", code="CANCELLED", details={"message": "Its job was cancelled. Send the document again to ingest it."}
)


class Release:
    """Removes what a cancelled job stored."""

    def __init__(self, jobs: Jobs, chunks: Chunks, blobs: Blobs, abandon: Abandon) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._blobs = blobs
        self._abandon = abandon

    async def __call__(self, job: JobRecord) -> None:
        """Removes the job's chunks and bytes. Can be repeated."""
        if job.kind is JobKind.REINDEX:
            await self._abandon(job)
            return
        await self._chunks.delete_of(job)
        if job.blob_id:
            await self._blobs.delete(job.tenant_id, job.blob_id)
            await self._jobs.forget_blob(job)


class ManageJobs:
    """What a tenant does with its jobs."""

    def __init__(
        self, collections: Collections, documents: Documents, jobs: Jobs, release: Release, *, on_job: Callable[[], None]
    ) -> None:
        self._collections = collections
        self._documents = documents
        self._jobs = jobs
        self._release = release
        self._on_job = on_job

    async def page(
        self, collection_id: str, state: JobState, page_size: int, page_token: str, ctx: Context
    ) -> tuple[list[Job], str]:
        """Returns a page of jobs, the newest first, and the token of the next. Raises NotFoundError, InvalidArgumentError."""
        uid = (await existing(self._collections, ctx.tenant_id, collection_id)).uid if collection_id else ""
        size = page_size or DEFAULT_PAGE_SIZE
        after = _place(from_page_token(page_token))

        def read(last: JobRecord | None, count: int) -> AsyncIterator[JobRecord]:
            return self._jobs.page(ctx.tenant_id, uid, state, (last.created_at, last.job_id) if last else after, count)

        found, is_more = await filled(read, size)
        return [job.view() for job in found], to_page_token(f"{found[-1].created_at} {found[-1].job_id}") if is_more else ""

    async def cancel(self, job_id: str, ctx: Context) -> Job:
        """Ends a job and removes what it stored. Raises NotFoundError, JobStateError."""
        cancelled = await self._jobs.cancel(ctx.tenant_id, job_id, now_ms())
        job = await self._existing(ctx.tenant_id, job_id)
        if job.state is not JobState.CANCELLED:
            why = "has ended" if job.state.is_final else "is just becoming visible"
            raise JobStateError(job_id, job.state, f"{why} and cannot be cancelled. Delete the document to undo it.")
        if cancelled:
            await self._documents.fail(job.model_copy(update={"error": _CANCELLED}))
        await self._release(job)
        return job.view()

    async def retry(self, job_id: str, ctx: Context) -> Job:
        """Lets a failed job be tried again. Raises NotFoundError, JobStateError."""
        retried = await self._jobs.retry(ctx.tenant_id, job_id, now_ms())
        job = await self._existing(ctx.tenant_id, job_id)
        if retried:
            await self._documents.revive(job)
            self._on_job()
        elif job.state is JobState.SUCCEEDED:
            raise JobStateError(job_id, job.state, "has succeeded: there is nothing to try again.")
        elif job.state.is_final:
            raise JobStateError(job_id, job.state, "cannot be tried again: its bytes are gone. Send the document again.")
        return job.view()

    async def _existing(self, tenant_id: str, job_id: str) -> JobRecord:
        job = await self._jobs.get(tenant_id, job_id)
        if job is None:
            raise NotFoundError("job", job_id, "GET /api/v1/jobs lists them.")
        return job


class Sweep:
    """Removes bytes that no job names, and what cancelled jobs left when a crash came between."""

    def __init__(self, jobs: Jobs, blobs: Blobs, release: Release, *, age_s: float) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._release = release
        self._age_s = age_s

    async def run(self, every_s: float) -> None:
        """Looks now and every `every_s` seconds, until cancelled."""
        while True:
            try:
                await self()
            except Exception:
                log.exception("leftovers could not be removed; the next look tries again")
            await asyncio.sleep(every_s)

    async def __call__(self) -> None:
        """Looks once. An upload under way is younger than `age_s`, which is longer than any upload may take."""
        async for tenant_id, blob_id in self._blobs.unclaimed(now_ms() - int(self._age_s * 1000)):
            if await self._jobs.names_blob(tenant_id, blob_id):
                await self._blobs.claim(tenant_id, blob_id)  # the crash came after the job's row was there
            else:
                await self._blobs.delete(tenant_id, blob_id)
        async for job in self._jobs.unreleased():
            await self._release(job)


def _place(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    created_at, _, job_id = token.partition(" ")
    if not created_at.isdecimal() or int(created_at) > _LATEST_MS or not job_id:
        raise InvalidArgumentError([("page_token", "must be the next_page_token of an earlier page")])
    return int(created_at), job_id
