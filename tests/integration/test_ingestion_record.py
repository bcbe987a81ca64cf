"""The record itself: tenants kept apart, change numbers without gaps, leases given once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from common.context import Context
from common.models import CallContext, DocumentState
from common.store import ChangeRecord, CollectionRecord, Store, now_ms, open_store
from services.ingestion.adapters.collections import MongoCollections
from services.ingestion.adapters.contents import MongoBlobs, MongoChanges
from services.ingestion.adapters.documents import MongoDocuments
from services.ingestion.adapters.jobs import MongoJobs
from services.ingestion.domain.errors import ModelChangedError
from services.ingestion.domain.records import JobRecord
from services.ingestion.usecases.intake import TakeDocument, Upload
from services.ingestion.usecases.publish import Publish

COLLECTION = CollectionRecord(_id="uid", tenant_id="acme", collection_id="manual", language="es", created_at=1)


def change(document_id: str, version: int, *, deleted: bool = False) -> ChangeRecord:
    return ChangeRecord(seq=0, document_id=document_id, version=version, chunks=1, deleted=deleted)


def job(job_id: str, tenant_id: str = "acme") -> JobRecord:
    return JobRecord(
        _id=job_id,
        tenant_id=tenant_id,
        collection_uid="uid",
        collection_id="manual",
        document_id=job_id,
        version=1,
        blob_id="",
        content_type="text/plain",
        bytes=1,
        sha256="",
        context=CallContext(),
    )


async def test_a_tenant_reaches_its_own_rows_only(store: Store):
    mine, theirs = store.rows("acme", "things"), store.rows("rival", "things")
    await mine.insert({"_id": "1", "n": 1})
    await theirs.insert({"_id": "2", "n": 2})
    assert [row["_id"] async for row in mine.find({}, order=[("_id", 1)])] == ["1"]
    assert await mine.find_one({"_id": "2"}) is None
    assert await mine.count({}) == 1
    assert not await mine.update({"_id": "2"}, {"$set": {"n": 9}})
    assert await mine.update_returning({"_id": "2"}, {"$set": {"n": 9}}) is None
    assert await mine.delete({}) == 1
    assert await theirs.find_one({"_id": "2"}) == {"_id": "2", "n": 2, "tenant_id": "rival"}


async def test_a_filter_or_row_cannot_name_another_tenant(store: Store):
    mine, theirs = store.rows("acme", "things"), store.rows("rival", "things")
    await mine.insert({"_id": "1", "tenant_id": "rival"})
    await mine.insert_missing([{"_id": "2", "tenant_id": "rival"}])
    assert await theirs.count({}) == 0
    assert await theirs.count({"tenant_id": "acme"}) == 0
    assert await mine.count({"tenant_id": "rival"}) == 2


async def test_a_taken_key_changes_nothing(store: Store):
    rows = store.rows("acme", "things")
    assert await rows.insert({"_id": "1", "n": 1})
    assert not await rows.insert({"_id": "1", "n": 2})
    await rows.insert_missing([{"_id": "1", "n": 3}, {"_id": "2", "n": 4}])
    await rows.insert_missing([])
    assert [row["n"] async for row in rows.find({}, order=[("_id", 1)], omit=("_id",))] == [1, 4]


async def test_another_tenants_key_is_taken_too_and_stays_as_it_is(store: Store):
    await store.rows("acme", "things").insert({"_id": "1", "n": 1})
    assert not await store.rows("rival", "things").insert({"_id": "1", "n": 2})


async def test_rows_come_in_order_and_as_many_as_asked_for(store: Store):
    rows = store.rows("acme", "things")
    for n in (3, 1, 2):
        await rows.insert({"n": n, "text": "x"})
    found = [row async for row in rows.find({"n": {"$gt": 1}}, order=[("n", -1)], limit=1, omit=("text",))]
    assert [(row["n"], "text" in row) for row in found] == [(3, False)]


async def test_the_unique_keys_are_kept_by_the_database(store: Store):
    collections = store.rows("acme", "collections")
    assert await collections.insert({"_id": "a", "collection_id": "x"})
    assert not await collections.insert({"_id": "b", "collection_id": "x"})
    assert await store.rows("rival", "collections").insert({"_id": "c", "collection_id": "x"})


async def test_preparing_again_does_no_harm(store_settings, store: Store):
    await store.prepare()
    async with open_store(store_settings) as again:
        await again.ping()


async def test_concurrent_publishers_leave_no_gap_and_no_double(store: Store):
    publish = Publish(MongoChanges(store))
    documents = [f"doc-{i}" for i in range(6)]
    wanted = [change(document, version) for document in documents for version in (1, 2, 3)]
    await asyncio.gather(*(publish("acme", "uid", each) for each in wanted))
    log = [row async for row in store.rows("acme", "changes").find({}, order=[("seq", 1)])]
    assert [row["seq"] for row in log] == list(range(1, len(log) + 1))
    for document in documents:
        versions = [row["version"] for row in log if row["document_id"] == document]
        assert versions == sorted(set(versions))
        assert versions[-1] == 3


async def test_a_repeated_publish_adds_nothing(store: Store):
    publish = Publish(MongoChanges(store))
    first = await publish("acme", "uid", change("doc", 1))
    assert await publish("acme", "uid", change("doc", 1)) == first
    assert await store.rows("acme", "changes").count({}) == 1


async def test_publishers_of_several_servers_leave_no_gap_and_no_double(store: Store):
    servers = [Publish(MongoChanges(store)) for _ in range(2)]
    for i in range(6):  # in turns, so that each has last seen another head than there is
        await servers[i // 2 % 2]("acme", "uid", change(f"doc-{i}", 1))
    log = [row async for row in store.rows("acme", "changes").find({}, order=[("seq", 1)])]
    assert [(row["seq"], row["document_id"]) for row in log] == [(i + 1, f"doc-{i}") for i in range(6)]


async def test_a_publisher_sees_that_another_server_changed_the_model(store: Store):
    changes = MongoChanges(store)
    publish = Publish(changes)
    await publish("acme", "uid", change("doc", 1).model_copy(update={"model": "old"}))
    await changes.append("acme", "uid", ChangeRecord(seq=2, document_id="", version=0, model="new"))
    with pytest.raises(ModelChangedError) as told:
        await publish("acme", "uid", change("doc", 2).model_copy(update={"model": "old"}))
    assert told.value.model == "new"
    assert (await publish("acme", "uid", change("doc", 2).model_copy(update={"model": "new"}))).seq == 3


async def test_an_overtaken_publish_returns_what_stands(store: Store):
    publish = Publish(MongoChanges(store))
    gone = await publish("acme", "uid", change("doc", 2, deleted=True))
    assert await publish("acme", "uid", change("doc", 1)) == gone


async def test_a_job_is_leased_to_one_worker(store: Store):
    jobs = MongoJobs(store)
    for i in range(8):
        await jobs.add(job(f"j{i}", "acme" if i % 2 else "rival"))
    leased = await asyncio.gather(*(jobs.lease(f"worker-{i}", now_ms(), now_ms() + 60_000) for i in range(16)))
    found = Counter(each.job_id for each in leased if each)
    assert found == {f"j{i}": 1 for i in range(8)}


async def test_a_lost_lease_changes_nothing(store: Store):
    jobs = MongoJobs(store)
    await jobs.add(job("j"))
    first = await jobs.lease("one", now_ms(), now_ms())  # over at once
    second = await jobs.lease("two", now_ms() + 1, now_ms() + 60_000)
    assert (first.job_id, second.job_id, second.attempts) == ("j", "j", 2)
    assert not await jobs.change(first, chunks_done=5)
    assert first.chunks_done == 0
    assert await jobs.change(second, chunks_done=7)
    assert (await jobs.get("acme", "j")).chunks_done == 7


async def test_version_numbers_are_given_once(store: Store):
    documents = MongoDocuments(store)
    versions = await asyncio.gather(*(documents.next_version("acme", COLLECTION, "doc") for _ in range(10)))
    assert sorted(versions) == list(range(1, 11))


async def test_only_a_document_without_a_version_gets_its_first(store: Store):
    documents = MongoDocuments(store)
    firsts = await asyncio.gather(*(documents.first_version("acme", COLLECTION, "doc") for _ in range(4)))
    assert sorted(firsts, key=str) == [1, None, None, None]
    assert await documents.next_version("acme", COLLECTION, "doc") == 2


async def test_a_document_whose_upload_broke_off_is_listed_when_it_is_visible(store: Store):
    documents, taken = MongoDocuments(store), job("doc")
    await documents.first_version("acme", COLLECTION, "doc")
    assert await documents.get("acme", "uid", "doc") is None
    await documents.apply(taken, change("doc", 1).model_copy(update={"seq": 1}))
    listed = await documents.get("acme", "uid", "doc")
    assert listed is not None
    assert (listed.state, listed.version, listed.job_id, listed.received) == (DocumentState.READY, 1, "doc", 1)


async def test_what_came_later_is_not_undone_by_an_earlier_version_becoming_visible(store: Store):
    documents, first = MongoDocuments(store), job("doc")
    later = job("doc").model_copy(update={"job_id": "later", "version": 2})
    await documents.next_version("acme", COLLECTION, "doc")
    await documents.register(first)
    await documents.next_version("acme", COLLECTION, "doc")
    await documents.register(later)
    await documents.apply(first, change("doc", 1).model_copy(update={"seq": 1}))
    listed = await documents.get("acme", "uid", "doc")
    assert listed is not None
    assert (listed.version, listed.job_id, listed.received) == (1, "later", 2)


async def test_a_caller_that_leaves_after_its_last_byte_leaves_no_bytes_without_a_job(store: Store):
    held = asyncio.Event()

    class SlowDocuments(MongoDocuments):
        async def first_version(self, tenant_id, collection, document_id):
            held.set()
            await go_on.wait()
            return await super().first_version(tenant_id, collection, document_id)

    async def pieces():
        yield b"hola"

    go_on, jobs, collections = asyncio.Event(), MongoJobs(store), MongoCollections(store)
    await collections.add(COLLECTION)
    take = TakeDocument(
        collections, SlowDocuments(store), jobs, MongoBlobs(store), most_bytes=100, timeout_s=20, on_job=lambda: None
    )
    call = asyncio.create_task(take(Upload("manual", "doc", "a.txt"), pieces(), Context(tenant_id="acme")))
    await held.wait()
    call.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await store.rows("acme", "jobs").count({}) == 1
    assert await store.rows("acme", "blobs").count({}) == 1
