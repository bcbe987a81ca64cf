"""The queue of jobs as one server's workers see it: while it is empty one of them looks, and the others wait behind it."""

from __future__ import annotations

import asyncio

from common.store import now_ms
from services.ingestion.domain.records import JobRecord
from services.ingestion.ports import Jobs


class JobQueue:
    """Leases jobs to workers.

    Args:
        jobs: The record's jobs.
        lease_s: Seconds a job is given for.
        poll_s: Seconds between looks at an empty queue, for jobs that other processes accepted.
    """

    def __init__(self, jobs: Jobs, *, lease_s: float, poll_s: float) -> None:
        self._jobs = jobs
        self._lease_ms = int(lease_s * 1000)
        self._poll_s = poll_s
        self._turn = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._is_empty = False

    def wake(self) -> None:
        """Says that a job was added."""
        self._arrived.set()

    async def next(self, owner: str) -> JobRecord:
        """Waits for a job and leases it. Raises UnavailableError when the record fails."""
        async with self._turn:
            while True:
                if self._is_empty:
                    await self._wait()
                self._arrived.clear()
                now = now_ms()
                job = await self._jobs.lease(owner, now, now + self._lease_ms)
                self._is_empty = job is None
                if job is not None:
                    return job

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._arrived.wait()
        except TimeoutError:
            return
