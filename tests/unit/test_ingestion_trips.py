"""What spares ingestion trips to the record, and that it never tells anything that is not so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from common.errors import UnavailableError
from common.models import CallContext, JobState
from common.store import ChangeRecord
from common.tasks import stop
from services.ingestion.adapters import recent
from services.ingestion.adapters.recent import RecentBlobs
from services.ingestion.domain.records import JobRecord
from services.ingestion.usecases import news, publish
from services.ingestion.usecases.news import JobNews
from services.ingestion.usecases.publish import Publish
from tests.fakes.waiting import until


class Changes:
    """A log in memory that counts who looks for a document's last change."""

    def __init__(self) -> None:
        self.log: list[ChangeRecord] = []
        self.looks = 0

    async def last(self, tenant_id: str, collection_uid: str) -> ChangeRecord | None:
        return self.log[-1] if self.log else None

    async def last_of(self, tenant_id: str, collection_uid: str, document_id: str) -> ChangeRecord | None:
        self.looks += 1
        return next((change for change in reversed(self.log) if change.document_id == document_id), None)

    async def append(self, tenant_id: str, collection_uid: str, change: ChangeRecord) -> bool:
        if change.seq != len(self.log) + 1:
            return False
        self.log.append(change)
        return True


def change(document_id: str, version: int = 1) -> ChangeRecord:
    return ChangeRecord(seq=0, document_id=document_id, version=version, chunks=1, model="m")


async def test_a_log_that_this_process_wrote_is_not_looked_through():
    changes = Changes()
    appending = Publish(changes)
    for i in range(5):
        await appending("acme", "uid", change(f"doc-{i}"), since=i // 2)
    assert [one.seq for one in changes.log] == [1, 2, 3, 4, 5]
    assert changes.looks == 0


async def test_a_repeated_and_an_overtaken_change_are_known_without_a_look():
    changes = Changes()
    appending = Publish(changes)
    first = await appending("acme", "uid", change("doc", 1), since=0)
    assert await appending("acme", "uid", change("doc", 1), since=0) == first
    later = await appending("acme", "uid", change("doc", 3), since=1)
    assert await appending("acme", "uid", change("doc", 2), since=1) == later
    assert (len(changes.log), changes.looks) == (2, 0)


async def test_what_another_process_appended_is_found():
    changes = Changes()
    appending = Publish(changes)
    await appending("acme", "uid", change("one"), since=0)
    changes.log.append(change("doc", 2).model_copy(update={"seq": 2}))  # a later version, by another server
    stands = await appending("acme", "uid", change("doc", 1), since=1)
    assert (stands.seq, stands.version) == (2, 2)
    assert len(changes.log) == 2


async def test_changes_older_than_those_remembered_are_looked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publish, "_CHANGES_KEPT", 2)
    changes = Changes()
    appending = Publish(changes)
    first = await appending("acme", "uid", change("doc", 1), since=0)
    for i in range(4):
        await appending("acme", "uid", change(f"other-{i}"), since=3)
    assert await appending("acme", "uid", change("doc", 1), since=0) == first
    assert len(changes.log) == 5


async def test_a_job_of_which_nothing_is_known_is_looked_for():
    changes = Changes()
    await Publish(changes)("acme", "uid", change("doc"))
    assert changes.looks == 1


def job(**fields: object) -> JobRecord:
    known = {"_id": "job-1", "tenant_id": "acme", "collection_uid": "u", "collection_id": "c", "context": CallContext()}
    return JobRecord.model_validate({**known, **fields})


def test_a_job_just_written_is_known_to_its_tenant_until_something_else_happens(monkeypatch: pytest.MonkeyPatch):
    told = JobNews()
    told.tell("job-1", job())
    known = told.fresh("acme", "job-1")
    assert known is not None and known.state is JobState.PENDING
    assert told.fresh("rival", "job-1") is None
    assert told.fresh("acme", "job-2") is None
    told.tell("job-1")  # it changed, nobody says how
    assert told.fresh("acme", "job-1") is None
    told.tell("job-1", job(state=JobState.FAILED))  # which may be tried again elsewhere
    assert told.fresh("acme", "job-1") is None
    told.tell("job-1", job())
    monkeypatch.setattr(news, "_FRESH_S", -1.0)
    assert told.fresh("acme", "job-1") is None


class Claims:
    """A record that notes claims; it fails while it is told to."""

    def __init__(self) -> None:
        self.claimed: list[tuple[str, tuple[str, ...]]] = []
        self.fails = False

    async def claim(self, tenant_id: str, *blob_ids: str) -> None:
        if self.fails:
            self.fails = False
            raise UnavailableError("database")
        self.claimed.append((tenant_id, blob_ids))


@pytest.fixture
async def claiming(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[RecentBlobs, Claims]]:
    monkeypatch.setattr(recent, "_CLAIM_EVERY_S", 0.01)
    record = Claims()
    blobs = RecentBlobs(record)
    task = asyncio.create_task(blobs.run())
    yield blobs, record
    await stop([task])


async def test_claims_reach_the_record_together(claiming):
    blobs, record = claiming
    for tenant, blob in (("acme", "a"), ("rival", "r"), ("acme", "b")):
        await blobs.claim(tenant, blob)

    async def noted() -> bool:
        return sorted(record.claimed) == [("acme", ("a", "b")), ("rival", ("r",))]

    await until(noted)


async def test_claims_that_fail_are_left_to_the_sweep(claiming, caplog: pytest.LogCaptureFixture):
    blobs, record = claiming
    record.fails = True
    with caplog.at_level(logging.WARNING, "malla.ingestion"):
        await blobs.claim("acme", "a")

        async def told() -> bool:
            return "not noted" in caplog.text

        await until(told)
    await blobs.claim("acme", "b")

    async def goes_on() -> bool:
        return record.claimed == [("acme", ("b",))]

    await until(goes_on)
