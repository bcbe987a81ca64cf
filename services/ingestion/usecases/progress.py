"""How far a job has come, in the record: soon enough for whoever looks, seldom enough to cost nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from common.store import now_ms
from common.tasks import stop
from services.ingestion.domain.records import JobRecord
from services.ingestion.ports import Jobs

T = TypeVar("T")

_EVERY_S = 1.0


class LeaseLostError(Exception):
    """Another worker holds the job, or it is gone with its collection. What was written so far does no harm."""


class Progress:
    """What one try at a job tells of it. Nothing that a later try needs is told by it alone: that is what the chunks are."""

    def __init__(self, jobs: Jobs, job: JobRecord) -> None:
        self._jobs = jobs
        self._job = job
        self._waiting: dict[str, Any] = {}
        self._written = time.monotonic()  # the lease just was

    async def note(self, **fields: Any) -> None:
        """Changes fields of the job with the next write, which comes within a second of the last.

        A job whose last tries ended without a word says at once that this one gets on: it is not what kills its workers.
        Raises LeaseLostError.
        """
        self._waiting |= fields
        if self._job.unfinished > 1 or self._left_s <= 0:
            await self.write()

    async def write(self, **fields: Any) -> None:
        """Changes fields of the job in the record, with all that waits. Raises LeaseLostError."""
        waiting, self._waiting = self._waiting | fields, {}
        self._written = time.monotonic()
        if not await self._jobs.change(self._job, **waiting, updated_at=now_ms()):
            raise LeaseLostError(self._job.job_id)

    async def during(self, step: Coroutine[Any, Any, T]) -> T:
        """Takes a step of the work, and writes what waits where the step takes long. Raises what it raises, LeaseLostError."""
        working = asyncio.create_task(step)
        try:
            done, _ = await asyncio.wait([working], timeout=max(0.0, self._left_s))
            if not done and self._waiting:
                await self.write()
            return await working
        finally:
            await stop([working])

    @property
    def _left_s(self) -> float:
        return self._written + _EVERY_S - time.monotonic()
