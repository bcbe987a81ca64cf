"""The worker: takes jobs one after the other, keeps its leases, and decides what a failure means."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.errors import Code, InternalError, MallaError
from common.models import Error, JobKind, JobState
from common.store import now_ms
from common.tasks import finished, stop
from services.ingestion.domain.errors import WorkerDiedError
from services.ingestion.domain.identifiers import new_id
from services.ingestion.domain.records import JobRecord
from services.ingestion.ports import Documents, Jobs
from services.ingestion.usecases.process import ProcessJob
from services.ingestion.usecases.progress import LeaseLostError
from services.ingestion.usecases.queue import JobQueue
from services.ingestion.usecases.reindex import ReindexCollection

log = logging.getLogger("malla.ingestion")

# Failures of the world around: the document is not to blame, and the job is tried until the world is well again.
_TRANSIENT = {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.CANCELLED}
_LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True)
class WorkRules:
    """How jobs are worked on.

    Attributes:
        lease_s: Seconds after which a job whose worker went silent is taken over.
        poll_s: Seconds a worker rests after a failure of the record.
        max_attempts: Times a job is tried after failures of its own, and times a worker may die over it without a word.
    """

    lease_s: float
    poll_s: float
    max_attempts: int


class Worker:
    """Works on jobs until cancelled."""

    def __init__(
        self,
        queue: JobQueue,
        jobs: Jobs,
        documents: Documents,
        process: ProcessJob,
        reindex: ReindexCollection,
        rules: WorkRules,
    ) -> None:
        self._queue = queue
        self._jobs = jobs
        self._documents = documents
        self._work_of: Mapping[JobKind, ProcessJob | ReindexCollection] = {
            JobKind.INGEST: process,
            JobKind.REINDEX: reindex,
        }
        self._rules = rules

    async def run(self) -> None:
        """Works on one job after the other."""
        owner = new_id("worker")
        while True:
            try:
                await self._work(await self._queue.next(owner))
            except MallaError as error:
                log.warning("the record fails, the worker goes on: %s", error.message)
                await asyncio.sleep(self._rules.poll_s)
            except Exception:
                log.exception("the worker failed; it goes on")
                await asyncio.sleep(self._rules.poll_s)

    async def _work(self, job: JobRecord) -> None:
        if job.unfinished > self._rules.max_attempts:
            await self._give_up(job, WorkerDiedError(job.unfinished - 1))
            return
        log.info("job begins", extra=_facts(job))
        try:
            async with self._lease_kept(job):
                await self._work_of[job.kind](job)
            log.info("job succeeded", extra=_facts(job))
        except asyncio.CancelledError:
            # A server that stops is no sign against the job, and the next one need not wait for the lease to run out.
            await finished(self._hand_back(job))
            raise
        except LeaseLostError:
            log.warning("lease lost", extra=_facts(job))
        except MallaError as error:
            await self._failed(job, error)
        except Exception:
            log.exception("job failed unexpectedly", extra=_facts(job))
            await self._failed(job, InternalError("Ingestion failed inside. The ingestion server's log has it."))

    async def _hand_back(self, job: JobRecord) -> None:
        try:
            await self._jobs.change(job, available_at=now_ms(), unfinished=max(0, job.unfinished - 1))
        except MallaError as error:
            log.warning("lease not handed back; it runs out by itself: %s", error.message, extra=_facts(job))

    @asynccontextmanager
    async def _lease_kept(self, job: JobRecord) -> AsyncIterator[None]:
        keeper = asyncio.create_task(self._keep(job), name=f"lease-{job.job_id}")
        try:
            yield
        finally:
            await stop([keeper])

    async def _keep(self, job: JobRecord) -> None:
        while True:
            await asyncio.sleep(self._rules.lease_s / 3)
            try:
                await self._jobs.change(job, available_at=now_ms() + int(self._rules.lease_s * 1000))
            except MallaError as error:
                log.warning("lease not renewed: %s", error.message, extra=_facts(job))

    async def _failed(self, job: JobRecord, error: MallaError) -> None:
        transient = error.code in _TRANSIENT
        failures = job.failures + (0 if transient else 1)
        hopeless = not transient and (error.code is not Code.INTERNAL or failures >= self._rules.max_attempts)
        if hopeless:
            await self._give_up(job, error, failures=failures)
            return
        # An empty budget is full again in days, or at once when somebody raises it: a job looks now and then.
        wait_s = min(error.retry_after_s or 0.5 * 2 ** min(job.attempts, 10), _LONGEST_BACKOFF_S)
        wait_s *= random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries, guards nothing
        log.warning("job will be tried again in %.1f s: %s", wait_s, error.message, extra=_facts(job))
        await self._jobs.change(
            job,
            state=JobState.PENDING,
            error=_shown(error),
            failures=failures,
            unfinished=0,
            available_at=now_ms() + int(wait_s * 1000),
            updated_at=now_ms(),
        )

    async def _give_up(self, job: JobRecord, error: MallaError, **fields: int) -> None:
        log.warning("job failed for good: %s", error.message, extra=_facts(job))
        shown = _shown(error)
        if await self._jobs.change(job, state=JobState.FAILED, error=shown, updated_at=now_ms(), **fields):
            await self._documents.fail(job.model_copy(update={"error": shown}))


def _shown(error: MallaError) -> Error:
    return Error(type=error.reason, code=error.code.value, details={**error.details, "message": error.message})


def _facts(job: JobRecord) -> dict[str, object]:
    return {
        "job_id": job.job_id,
        "tenant_id": job.tenant_id,
        "document_id": job.document_id,
        "attempt": job.attempts,
        "request_id": job.context.request_id,
    }
