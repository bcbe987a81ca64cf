"""Every query of the record asks an index: what the embedded database says it would do for each filter the adapters send.

It chooses without looking at how many rows there are, so that a few tell of a hundred thousand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent, register

from common.models import CallContext, JobState
from common.settings import StoreSettings
from common.store import ChangeRecord, ChunkRecord, CollectionRecord, Store, now_ms
from common.tracking._budget import Limits
from common.tracking._budget_rows import BudgetRows
from common.tracking._reading import Reading
from services.ingestion.adapters.collections import MongoCollections
from services.ingestion.adapters.contents import MongoBlobs, MongoChanges, MongoChunks
from services.ingestion.adapters.documents import MongoDocuments
from services.ingestion.adapters.jobs import MongoJobs
from services.ingestion.domain.records import JobRecord
from services.query.adapters.agents import MongoAgents
from services.query.adapters.conversations import MongoConversations
from services.query.adapters.record import MongoRecord

DATED = "2024-01-15-acta.md"
COLLECTION = CollectionRecord(_id="uid", tenant_id="acme", collection_id="manual", language="es", created_at=1)
# A handful of rows, read at a start or by the hour: collections that are being removed.
READ_WHOLE = {("collections", ("deleted",))}


class Noted(CommandListener):
    """Notes the filters that are sent."""

    def __init__(self) -> None:
        self.filters: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}

    def started(self, event: CommandStartedEvent) -> None:
        command, name = event.command, event.command_name
        if name in ("update", "delete"):
            sent = [one["q"] for one in command[f"{name}s"]]
        elif name == "aggregate":
            sent = [stage["$match"] for stage in command["pipeline"] if "$match" in stage]
        else:
            sent = [command[key] for key in ("filter", "query") if key in command]
        for query in sent:
            self.filters[str(command[name]), tuple(query)] = dict(query)

    def succeeded(self, event: object) -> None: ...

    def failed(self, event: object) -> None: ...


NOTED = Noted()


@pytest.fixture(autouse=True, scope="module")
def noting() -> Iterator[None]:
    """Notes what clients that are made from here on send."""
    from pymongo import monitoring

    register(NOTED)
    yield
    monitoring._LISTENERS.command_listeners.remove(NOTED)


def job(job_id: str, **fields: Any) -> JobRecord:
    given = {"_id": job_id, "tenant_id": "acme", "collection_uid": "uid", "collection_id": "manual", "document_id": DATED}
    rest = {"version": 1, "blob_id": "blob", "content_type": "text/plain", "bytes": 1, "sha256": "", "context": CallContext()}
    return JobRecord(**{**given, **rest, **fields})


def passage(document_id: str) -> ChunkRecord:
    return ChunkRecord(
        chunk_id=f"{document_id}:1:0", document_id=document_id, version=1, ordinal=0, text="luz", vector=b"1234", model="m"
    )


async def all_of(rows: AsyncIterator[Any]) -> list[Any]:
    return [row async for row in rows]


async def ingest(store: Store) -> None:
    collections, documents, jobs = MongoCollections(store), MongoDocuments(store), MongoJobs(store)
    changes, chunks, blobs = MongoChanges(store), MongoChunks(store), MongoBlobs(store)
    await collections.add(COLLECTION)
    await collections.get("acme", "manual")
    await all_of(collections.page("acme", "", 5))
    await all_of(collections.hidden())
    await documents.first_version("acme", COLLECTION, DATED)
    await documents.next_version("acme", COLLECTION, DATED)
    await documents.register(job("first"))
    await all_of(documents.page("acme", "uid", "a", 5))
    await jobs.add(job("first", created_at=1))
    leased = await jobs.lease("me", now_ms(), now_ms() + 1000)
    assert leased is not None
    await jobs.change(leased, unfinished=0)
    for state in (JobState.STATE_UNSPECIFIED, JobState.FAILED):
        for uid in ("", "uid"):
            await all_of(jobs.page("acme", uid, state, (5, "x"), 3))
    await all_of(jobs.unreleased())
    await jobs.names_blob("acme", "blob")
    await jobs.cancel("acme", "first", now_ms())
    await jobs.retry("acme", "first", now_ms())
    await store.all_tenants("jobs").count({"state": "PENDING"})
    await blobs.write("acme", "blob", 0, b"x")
    await blobs.read("acme", "blob")
    await all_of(blobs.unclaimed(now_ms()))
    await chunks.add(leased, [passage(DATED)])
    await chunks.ordinals(leased)
    await changes.append("acme", "uid", ChangeRecord(seq=1, document_id=DATED, version=1, chunks=1))
    await changes.last("acme", "uid")
    await changes.last_of("acme", "uid", DATED)
    await chunks.delete_before("acme", "uid", DATED, 1)
    await jobs.forget_blobs_before("acme", "uid", DATED, 9)


async def search_and_chat(store: Store) -> None:
    record, conversations, agents = MongoRecord(store), MongoConversations(store), MongoAgents(store)
    await record.changes_after("acme", "uid", 0)
    await record.change("acme", "uid", 1)
    await record.chunks_of("acme", "uid", {DATED: 1}, "m")
    await record.chunk_ids("acme", "uid", {DATED: 1, "luces": 1}, "")
    await all_of(agents.page("acme", 0, 5))
    await agents.made_by("acme", "r-1")
    for handed_off in (False, True):
        await all_of(conversations.page("acme", (5, "s"), 5, handed_off=handed_off))
    await conversations.change("acme", "uid", "me", {"owner": ""})
    await conversations.turns("acme", "uid", last=3)
    await conversations.turns("acme", "uid", last=3, before=5)


async def test_every_query_asks_an_index(store: Store, store_settings: StoreSettings, mongodb_uri: str):
    NOTED.filters.clear()
    await ingest(store)
    await search_and_chat(store)
    ledger = Reading(store, BudgetRows(store, 5.0), 0)
    await ledger.totals("acme", 0, None, ["model"])
    await ledger.records("acme", 0, None, {}, 5, "")
    await ledger.budget("acme", "chat", Limits(1, 1))
    noted = dict(NOTED.filters)
    tables = {table for table, _ in noted}
    assert {"documents", "jobs", "changes", "chunks", "blobs", "agents", "conversations", "turns", "usage"} <= tables
    scanned = []
    async with AsyncMongoClient(mongodb_uri) as client:
        database = client[store_settings.mongodb_database]
        for (table, fields), query in noted.items():
            told = await database.command("explain", {"find": table, "filter": query})
            plan = str(told["queryPlanner"]["winningPlan"])
            if (f"SCAN {table}" in plan or "COLLSCAN" in plan) and (table, fields) not in READ_WHOLE:
                scanned.append((table, fields, plan))
    assert scanned == []


async def test_a_name_that_begins_like_a_date_is_found_like_any_other(store: Store):
    await ingest(store)
    found = await MongoRecord(store).chunks_of("acme", "uid", {DATED: 1, "10.md": 1}, "m")
    assert [chunk.document_id for chunk in found[DATED]] == [DATED]
    assert [one.document_id for one in await all_of(MongoDocuments(store).page("acme", "uid", "", 5))] == [DATED]
    assert await all_of(MongoDocuments(store).page("acme", "uid", DATED, 5)) == []
    change = await MongoChanges(store).last_of("acme", "uid", DATED)
    assert change is not None
    assert change.document_id == DATED
    first = await MongoJobs(store).get("acme", "first")
    assert first is not None
    assert first.document_id == DATED


@pytest.mark.parametrize("tenant", ["2024-01-15-acme", "20-01-01", "2024-10-co", "1e5"])
async def test_a_tenant_whose_name_begins_like_a_date_is_like_any_other(store: Store, tenant: str):
    rows = store.rows(tenant, "agents")
    key = {"_id": f"{tenant}/1", "request_id": "2024-01-15-first"}
    assert await rows.insert({**key, "value": 1})
    assert not await rows.insert(key)
    assert await store.all_tenants("agents").insert_missing([{**key, "tenant_id": tenant}, {"_id": "2"}]) == [0]
    changed = await rows.update_returning({"_id": key["_id"]}, {"$inc": {"value": 1}})
    assert changed == {**key, "tenant_id": tenant, "value": 2}
    assert await rows.find_one({"request_id": key["request_id"]}) == changed
    assert [row["_id"] for row in await all_of(rows.find({"_id": {"$in": [key["_id"], "x"]}}, order=[("_id", 1)]))] == [
        key["_id"]
    ]
    assert await rows.sums({"value": 2}, by="request_id", fields=("value",))
    assert await store.rows("other", "agents").count({}) == 0
    assert await rows.delete({"_id": key["_id"]}) == 1


@pytest.mark.parametrize(
    "name", ["2024-01-15", "!2024-01-15.md", "15-01-2024", "24/01/2015 acta", "!luz", "1234", "acta-2024-01-15"]
)
async def test_names_come_back_as_they_were_given(store: Store, name: str):
    rows = store.rows("acme", "documents")
    await rows.insert({"_id": "1", "collection_uid": "uid", "document_id": "z"})
    assert await rows.update({"document_id": "z"}, {"$set": {"document_id": name}})
    row = await rows.find_one({"collection_uid": "uid", "document_id": name})
    assert row is not None
    assert row["document_id"] == name
    assert await rows.count({"document_id": {"$in": [name, "other"]}}) == 1
    assert await rows.delete({"document_id": name}) == 1
