"""A watched job: what is sent, and what is not worth sending."""

from __future__ import annotations

import pytest

from common.context import Context
from common.models import CallContext, JobState
from services.ingestion.domain.records import JobRecord
from services.ingestion.usecases import documents
from services.ingestion.usecases.documents import FollowJobs
from services.ingestion.usecases.news import JobNews


def job(**fields: object) -> JobRecord:
    known = {"_id": "j", "tenant_id": "acme", "collection_uid": "uid", "collection_id": "manual", "context": CallContext()}
    return JobRecord(**{**known, "state": JobState.RUNNING, **fields})


class Jobs:
    """A record that shows one version of the job after another."""

    def __init__(self, *rows: JobRecord) -> None:
        self.rows = list(rows)

    async def get(self, tenant_id: str, job_id: str) -> JobRecord:
        return self.rows.pop(0)


async def watched(monkeypatch: pytest.MonkeyPatch, *rows: JobRecord, repeat_s: float) -> list[int]:
    """Returns the chunks done in each event of a watch over these versions of the job."""
    for name in ("_WATCH_LEAST_S", "_WATCH_FIRST_S", "_WATCH_MOST_S"):
        monkeypatch.setattr(documents, name, 0.001)
    monkeypatch.setattr(documents, "_WATCH_REPEAT_S", repeat_s)
    follow = FollowJobs(Jobs(*rows), JobNews())  # type: ignore[arg-type]
    return [one.chunks_done async for one in follow.watch("j", Context(tenant_id="acme"))]


RENEWED = [job(chunks_done=1, updated_at=at, available_at=at, owner=f"worker-{at}", unfinished=at) for at in (1, 2, 3, 4)]
REST = [job(chunks_done=2, updated_at=5), job(chunks_done=2, updated_at=6, state=JobState.SUCCEEDED)]


async def test_only_what_a_caller_sees_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await watched(monkeypatch, *RENEWED, *REST, repeat_s=3600.0) == [1, 2, 2]


async def test_silence_is_broken_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await watched(monkeypatch, *RENEWED, *REST, repeat_s=0.0) == [1, 1, 1, 1, 2, 2]
