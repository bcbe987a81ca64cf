"""Calls about jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from malla.ingestion.v1 import ingestion_pb2 as pb

from common.client._caller import STREAM_DEADLINE_S, Calls
from common.client._pages import pages
from common.errors import Code, DeadlineError, MallaError
from common.models import Job, JobListResponse, JobResponse, JobState
from common.protobuf import from_message

# What a restarting server answers meanwhile. The job itself survives, so a watcher asks again.
_PASSING = {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.CANCELLED}
_PAUSE_S = 0.5
_SILENCE_S = 30.0


def _ignore(_job: Job) -> None:
    return None


class JobCalls(Calls):
    """Calls about jobs."""

    async def get_job(self, job_id: str) -> Job:
        """Reads one job. Raises a MallaError of code NOT_FOUND if there is none."""
        response = await self._caller.unary(self._ingestion.GetJob, pb.GetJobRequest(job_id=job_id))
        return from_message(JobResponse, response).job or Job()

    async def list_jobs(
        self, collection_id: str = "", *, state: JobState = JobState.STATE_UNSPECIFIED, page_size: int = 0
    ) -> AsyncGenerator[Job, None]:
        """Yields jobs, the newest first, fetching page after page.

        Args:
            collection_id: The collection; empty for all of the tenant's.
            state: Where the jobs stand; unspecified for anywhere.
            page_size: Jobs fetched at once; 0 for 50.
        """

        async def page(token: str) -> JobListResponse:
            request = pb.ListJobsRequest(collection_id=collection_id, state=state.value, page_size=page_size, page_token=token)
            return from_message(JobListResponse, await self._caller.unary(self._ingestion.ListJobs, request))

        async for response in pages(page):
            for job in response.jobs:
                yield job

    async def cancel_job(self, job_id: str) -> Job:
        """Ends a job and removes what it stored.

        Raises a MallaError of code NOT_FOUND, or FAILED_PRECONDITION if it has ended.
        """
        response = await self._caller.unary(self._ingestion.CancelJob, pb.CancelJobRequest(job_id=job_id))
        return from_message(JobResponse, response).job or Job()

    async def retry_job(self, job_id: str) -> Job:
        """Lets a failed job be tried again.

        Raises a MallaError of code NOT_FOUND, or FAILED_PRECONDITION if it has succeeded or its bytes are gone.
        """
        response = await self._caller.unary(self._ingestion.RetryJob, pb.RetryJobRequest(job_id=job_id))
        return from_message(JobResponse, response).job or Job()

    async def watch_job(self, job_id: str, *, timeout_s: float = STREAM_DEADLINE_S) -> AsyncGenerator[Job, None]:
        """Yields the job as it is now, then each change, until it has succeeded, failed or been cancelled."""
        stream = self._caller.stream(self._ingestion.WatchJob, pb.WatchJobRequest(job_id=job_id), timeout_s)
        async with aclosing(stream):
            async for message in stream:
                job = from_message(JobResponse, message).job
                if job is not None:
                    yield job

    async def wait_for_job(
        self, job_id: str, *, timeout_s: float = STREAM_DEADLINE_S, on_change: Callable[[Job], None] = _ignore
    ) -> Job:
        """Follows a job to its end, through restarts of the server, and returns it as it ended.

        Args:
            job_id: The job.
            timeout_s: Seconds to wait.
            on_change: Told of each change, for progress bars.

        Raises:
            DeadlineError: The job has not ended in time. It goes on.
            MallaError: There is no such job, or the server was gone for half a minute.
        """
        until = time.monotonic() + timeout_s
        patience_ends: float | None = None  # set by a failure, cleared by news

        def hear(job: Job) -> None:
            nonlocal patience_ends
            patience_ends = None
            on_change(job)

        while (left := until - time.monotonic()) > 0:
            try:
                job = await self._last_seen(job_id, left, hear)
            except MallaError as error:
                if error.code is not Code.DEADLINE_EXCEEDED:  # of this watch; the loop knows whether it is ours too
                    patience_ends = patience_ends or time.monotonic() + _SILENCE_S
                    if error.code not in _PASSING or time.monotonic() > patience_ends:
                        raise
            else:
                if job is not None and job.state.is_final:
                    return job
            await asyncio.sleep(min(_PAUSE_S, max(0.0, until - time.monotonic())))
        raise DeadlineError(f"job '{job_id}'")

    async def _last_seen(self, job_id: str, timeout_s: float, on_change: Callable[[Job], None]) -> Job | None:
        last = None
        async with aclosing(self.watch_job(job_id, timeout_s=timeout_s)) as changes:
            async for last in changes:
                on_change(last)
                if last.state.is_final:
                    break
        return last
