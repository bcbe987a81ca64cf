"""What is told of jobs, to the record and to those who follow them; and bytes that are remembered until they are read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.context import Context
from common.models import CallContext, Job, JobStage, JobState
from services.ingestion.adapters.recent import RecentBlobs
from services.ingestion.domain.records import JobRecord
from services.ingestion.usecases import documents, progress
from services.ingestion.usecases.documents import FollowJobs
from services.ingestion.usecases.news import JobNews
from services.ingestion.usecases.progress import LeaseLostError, Progress
from tests.fakes.waiting import until


def job(**fields: Any) -> JobRecord:
    known = {"_id": "j", "tenant_id": "acme", "collection_uid": "uid", "collection_id": "manual", "context": CallContext()}
    return JobRecord(**{**known, "state": JobState.RUNNING, "unfinished": 1, **fields})


class Jobs:
    """A queue of one job that notes its changes and how often it is read."""

    def __init__(self, row: JobRecord, *, held: bool = True) -> None:
        self.row = row
        self.held = held
        self.changes: list[dict[str, Any]] = []
        self.reads = 0

    async def get(self, tenant_id: str, job_id: str) -> JobRecord:
        self.reads += 1
        return self.row.model_copy()

    async def change(self, job: JobRecord, **fields: Any) -> bool:
        del fields["updated_at"]
        self.changes.append(fields)
        for name, value in fields.items() if self.held else ():
            setattr(job, name, value)
        return self.held


async def test_steps_that_follow_each_other_are_written_at_once():
    row = job()
    jobs = Jobs(row)
    told = Progress(jobs, row)
    await told.note(stage=JobStage.EMBED, chunks_total=4)
    await told.note(chunks_done=4)
    assert jobs.changes == []
    assert row.chunks_total == 0  # as in the record
    await told.write(stage=JobStage.PUBLISH, publishing=True)
    assert jobs.changes == [{"stage": JobStage.PUBLISH, "chunks_total": 4, "chunks_done": 4, "publishing": True}]
    await told.write(seq=1)
    assert jobs.changes[1:] == [{"seq": 1}]


async def test_a_job_that_ended_without_a_word_before_says_at_once_that_it_gets_on():
    row = job(unfinished=2)
    jobs = Jobs(row)
    await Progress(jobs, row).note(chunks_done=2, unfinished=0)
    assert jobs.changes == [{"chunks_done": 2, "unfinished": 0}]


async def test_a_step_that_takes_long_is_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "_EVERY_S", 0.02)
    row, slow = job(), asyncio.Event()
    jobs = Jobs(row)
    told = Progress(jobs, row)
    told._waiting = {"stage": JobStage.EXTRACT}

    async def step() -> str:
        await slow.wait()
        return "text"

    taken = asyncio.create_task(told.during(step()))
    await until(lambda: jobs.changes)
    assert jobs.changes == [{"stage": JobStage.EXTRACT}]
    slow.set()
    assert await taken == "text"


async def test_a_lost_lease_ends_the_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    row = job()
    told = Progress(Jobs(row, held=False), row)
    with pytest.raises(LeaseLostError):
        await told.note(chunks_done=1)
    assert row.chunks_done == 0


async def test_who_follows_a_job_learns_from_its_worker_without_asking_the_record(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(documents, "_WATCH_MOST_S", 60.0)
    monkeypatch.setattr(documents, "_WATCH_FIRST_S", 60.0)
    news, row = JobNews(), job(state=JobState.PENDING)
    jobs = Jobs(row)
    shown: list[Job] = []

    async def follow() -> None:
        async for one in FollowJobs(jobs, news).watch("j", Context(tenant_id="acme")):
            shown.append(one)

    following = asyncio.create_task(follow())
    await until(lambda: len(shown) == 1)
    row.state = JobState.RUNNING
    news.tell("j", row)
    await until(lambda: len(shown) == 2)
    row.state, row.seq = JobState.SUCCEEDED, 7
    news.tell("j", row)
    await following
    assert [one.state for one in shown] == [JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED]
    assert (jobs.reads, shown[-1].seq) == (1, 7)


async def test_news_that_do_not_say_how_a_job_is_make_the_record_be_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(documents, "_WATCH_FIRST_S", 60.0)
    news, jobs = JobNews(), Jobs(job())
    watching = FollowJobs(jobs, news).watch("j", Context(tenant_id="acme"))
    assert (await anext(watching)).state is JobState.RUNNING
    jobs.row = job(state=JobState.CANCELLED)
    after = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    news.tell("j")
    assert (await after).state is JobState.CANCELLED
    assert jobs.reads == 2


class Blobs:
    """Blobs in memory that note who is read."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], bytes] = {}
        self.read_of: list[str] = []

    async def write(self, tenant_id: str, blob_id: str, number: int, piece: bytes) -> None:
        self.stored[tenant_id, blob_id] = self.stored.get((tenant_id, blob_id), b"") + piece

    async def read(self, tenant_id: str, blob_id: str) -> bytes:
        self.read_of.append(blob_id)
        return self.stored.get((tenant_id, blob_id), b"")

    async def delete(self, tenant_id: str, blob_id: str) -> None:
        self.stored.pop((tenant_id, blob_id), None)


async def test_bytes_just_stored_are_read_from_memory_once_and_from_the_record_again():
    record = Blobs()
    blobs = RecentBlobs(record)
    await blobs.write("acme", "b", 0, b"ho")
    await blobs.write("acme", "b", 1, b"la")
    assert [await blobs.read("acme", "b") for _ in range(2)] == [b"hola", b"hola"]
    assert record.read_of == ["b"]


async def test_another_tenant_reads_nothing_of_it():
    blobs = RecentBlobs(Blobs())
    await blobs.write("acme", "b", 0, b"hola")
    assert await blobs.read("rival", "b") == b""


async def test_deleted_bytes_are_not_remembered():
    blobs = RecentBlobs(Blobs())
    await blobs.write("acme", "b", 0, b"hola")
    await blobs.delete("acme", "b")
    assert await blobs.read("acme", "b") == b""


async def test_no_more_is_remembered_than_allowed_and_never_a_part_of_a_blob():
    record = Blobs()
    blobs = RecentBlobs(record, most_bytes=6)
    await blobs.write("acme", "old", 0, b"1234")
    await blobs.write("acme", "large", 0, b"12345")
    await blobs.write("acme", "large", 1, b"6789")  # too large by now, all of it
    await blobs.write("acme", "large", 2, b"0")
    assert [await blobs.read("acme", name) for name in ("old", "large")] == [b"1234", b"1234567890"]
    assert record.read_of == ["old", "large"]
