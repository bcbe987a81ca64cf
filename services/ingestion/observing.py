"""What is seen of jobs: each try as a span of the upload's trace, its stages, and how many jobs are in which state."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from opentelemetry.trace import SpanKind

from common.errors import MallaError
from common.models import JobState
from common.tasks import stop
from common.telemetry import Reading, active, observe, span, traceparent_of
from services.ingestion.domain.records import Extracted, JobRecord, Passage
from services.ingestion.ports import Reader

log = logging.getLogger("malla.ingestion")

SelfT = TypeVar("SelfT")
Work = Callable[[SelfT, JobRecord], Awaitable[None]]

_COUNT_EVERY_S = 10.0
# Finished jobs are never few; how many finish is told by the durations.
_COUNTED = (JobState.PENDING, JobState.RUNNING, JobState.FAILED)


def tried(work: Work[SelfT]) -> Work[SelfT]:
    """Makes each try at a job a span, the child of the call that brought the document, and measures it."""

    @functools.wraps(work)
    async def seen(self: SelfT, job: JobRecord) -> None:
        live = active()
        if live is None:
            return await work(self, job)
        facts: dict[str, str | int] = {
            "malla.job_id": job.job_id,
            "malla.tenant_id": job.tenant_id,
            "malla.request_id": job.context.request_id,
            "malla.job.attempt": job.attempts,
            "malla.job.bytes": job.bytes,
            "malla.job.content_type": job.content_type,
        }
        began, outcome = time.perf_counter(), "OK"
        try:
            with span("ingestion job", facts, kind=SpanKind.CONSUMER, parent=traceparent_of(job.traceparent)) as own:
                await work(self, job)
                own.set("malla.job.chunks", job.chunks_total)
        except BaseException as error:
            outcome = error.code.value if isinstance(error, MallaError) else type(error).__name__
            raise
        finally:
            live.measures.job_duration.record(time.perf_counter() - began, {"malla.job.outcome": outcome})

    return seen


class ObservedReader:
    """A reader whose stages are spans."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner

    async def extract(self, data: bytes, content_type: str) -> Extracted:
        """Returns the text of a document."""
        with span("extract", {"malla.job.content_type": content_type}):
            return await self._inner.extract(data, content_type)

    async def chunk(self, extracted: Extracted) -> list[Passage]:
        """Returns the passages of a text."""
        with span("chunk") as own:
            passages = await self._inner.chunk(extracted)
            own.set("malla.job.chunks", len(passages))
            return passages


class Counts(Protocol):
    """How many jobs there are."""

    async def count(self, query: Mapping[str, object]) -> int:
        """Returns how many rows match."""
        ...


@asynccontextmanager
async def jobs_observed(jobs: Counts) -> AsyncIterator[None]:
    """Reports while the block runs how many jobs wait, run and failed, whoever's they are."""
    if active() is None:
        yield
        return
    known: dict[str, int] = {}

    def readings() -> Iterable[Reading]:
        return [(count, {"malla.job.state": state}) for state, count in known.items()]

    async def count() -> None:
        while True:
            try:
                for state in _COUNTED:
                    known[state.value.lower()] = await jobs.count({"state": state.value})
            except MallaError as error:
                log.debug("jobs not counted: %s", error.reason)
            await asyncio.sleep(_COUNT_EVERY_S)

    observe("malla.ingestion.jobs", readings, unit="{job}", description="Jobs that wait, run and failed.")
    task = asyncio.create_task(count(), name="job-counts")
    try:
        yield
    finally:
        await stop([task])
