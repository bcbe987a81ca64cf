"""News of jobs within one process, so that whoever follows a job need not keep asking the record."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from services.ingestion.domain.records import JobRecord


@dataclass(eq=False)
class Heard:
    """What somebody who follows a job has heard of it, and not looked at yet.

    Attributes:
        job: The job as it was written last; None where the news did not say.
        arrived: Set by each news.
        ended: Set by news that nothing more will happen to it.
    """

    job: JobRecord | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def taken(self) -> JobRecord | None:
        """Returns the job if the news said what became of it, and forgets the news."""
        job, self.job = self.job, None
        self.arrived.clear()
        return job


_FRESH_S = 1.0


class JobNews:
    """Wakes those who follow a job when this process changes it, and knows for a moment how it was written."""

    def __init__(self) -> None:
        self._listening: dict[str, set[Heard]] = {}
        self._written: OrderedDict[str, tuple[float, JobRecord]] = OrderedDict()

    def tell(self, job_id: str, job: JobRecord | None = None) -> None:
        """Says that a job changed, and how it is in the record now, where that is known."""
        job = None if job is None else job.model_copy()
        self._note(job_id, job)
        listening = self._listening.get(job_id)
        if not listening:
            return
        for heard in listening:
            heard.job = job
            heard.arrived.set()
            if job is not None and job.state.is_final:
                heard.ended.set()

    def fresh(self, tenant_id: str, job_id: str) -> JobRecord | None:
        """Returns a tenant's job as it was written here less than a second ago; None for one that was not, or has ended.

        Most who follow a job begin right after it was accepted, here as a rule.
        """
        at, job = self._written.get(job_id, (0.0, None))
        if job is None or job.tenant_id != tenant_id or job.state.is_final or time.monotonic() - at > _FRESH_S:
            return None
        return job

    def _note(self, job_id: str, job: JobRecord | None) -> None:
        now = time.monotonic()
        self._written.pop(job_id, None)
        if job is not None:
            self._written[job_id] = (now, job)
        while self._written and now - next(iter(self._written.values()))[0] > _FRESH_S:
            self._written.popitem(last=False)

    def tell_all(self) -> None:
        """Wakes everybody."""
        for job_id in self._listening:
            self.tell(job_id)

    @contextmanager
    def followed(self, job_id: str) -> Iterator[Heard]:
        """Listens for news of a job while the block runs."""
        heard = Heard()
        listening = self._listening.setdefault(job_id, set())
        listening.add(heard)
        try:
            yield heard
        finally:
            listening.discard(heard)
            if not listening:
                self._listening.pop(job_id, None)


async def within(seconds: float, arrived: asyncio.Event) -> None:
    """Returns when news arrived, or when the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await arrived.wait()
