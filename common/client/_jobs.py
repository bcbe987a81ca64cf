"""Calls about jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from malla.ingestion.v1 import ingestion_pb2 as pb

from common.client._caller import STREAM_DEADLINE_S, Calls
from common.errors import Code, DeadlineError, MallaError
from common.models import Job, JobResponse
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

    async def watch_job(self, job_id: str, *, timeout_s: float = STREAM_DEADLINE_S) -> AsyncGenerator[Job, None]:
        """Yields the job as it is now, then each change, until it has succeeded or failed."""
        stream = self._caller.stream(self._ingestion.WatchJob, pb.WatchJobRequest(job_id=job_id), timeout_s)
        async with aclosing(stream):
            async for message in stream:
                job = from_message(JobResponse, message).job
                if job is not None:
                    yield job

    async def wait_for_job(
        self, job_id: str, *, timeout_s: float = STREAM_DEADLINE_S, on_change: Callable[[Job], None] = _ignore
    ) -> Job:
        """Follows a job to its end, through restarts of the server, and returns it, succeeded or failed.

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
                if error.code is Code.DEADLINE_EXCEEDED:
                    continue  # of this watch; the loop knows whether it is ours too
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
