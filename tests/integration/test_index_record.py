"""Indexes of a real database: read, kept, loaded again, and compared with it by the mesh."""

from __future__ import annotations

from pathlib import Path

import pytest
from malla.query.v1 import index_pb2, index_pb2_grpc

from common.context import Context
from common.models import SearchMode
from common.settings import StoreSettings
from common.store import ChangeRecord, CollectionRecord, Store, _store
from services.query.adapters.record import MongoRecord
from services.query.domain.collection_index import Search
from services.query.indexes import index_services, kept_indexes
from services.query.settings import QuerySettings
from tests.fakes.calls import metadata, refused
from tests.fakes.query import chunk
from tests.fakes.servers import channel_to

DOCUMENTS = 12  # more than are read one by one


async def publish(store: Store, seq: int, document_id: str, version: int, *texts: str) -> None:
    rows = [chunk(document_id, version, n, text).model_dump() for n, text in enumerate(texts)]
    keyed = [{"_id": f"uid:{row['chunk_id']}", "collection_uid": "uid", **row} for row in rows]
    await store.rows("acme", "chunks").insert_missing(keyed)
    change = ChangeRecord(seq=seq, document_id=document_id, version=version, chunks=len(rows))
    await store.rows("acme", "changes").insert({"_id": f"uid:{seq}", "collection_uid": "uid", **change.model_dump()})
    await store.rows("acme", "collections").update({"_id": "uid"}, {"$max": {"seq": seq}})


def below(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


@pytest.fixture
async def filled(store: Store) -> Store:
    collection = CollectionRecord(_id="uid", tenant_id="acme", collection_id="manual", language="es", created_at=1)
    await store.rows("acme", "collections").insert(collection.model_dump(by_alias=True))
    for n in range(DOCUMENTS):
        await publish(store, n + 1, f"doc-{n}", 1, f"luz {n}", "segunda luz")
    await publish(store, DOCUMENTS + 1, "doc-0", 2, "luz nueva")
    return store


async def test_the_record_gives_the_versions_that_are_asked_for(filled: Store):
    record = MongoRecord(filled)
    for versions in ({"doc-0": 2, "doc-1": 1}, {"doc-0": 2, **{f"doc-{n}": 1 for n in range(1, DOCUMENTS)}}):
        found = await record.chunks_of("acme", "uid", versions, "")
        assert {name: [one.chunk_id for one in chunks] for name, chunks in found.items()} == {
            name: [f"{name}:{version}:{n}" for n in range(1 if name == "doc-0" else 2)] for name, version in versions.items()
        }
        ids = await record.chunk_ids("acme", "uid", versions, "")
        assert sorted(ids) == sorted(one.chunk_id for chunks in found.values() for one in chunks)
    assert await record.chunks_of("rival", "uid", {"doc-0": 2}, "") == {}
    assert [one.uid for one in await record.collections("acme")] == ["uid"]
    assert await record.collections("rival") == []
    last = await record.change("acme", "uid", DOCUMENTS + 1)
    assert last is not None
    assert (last.document_id, last.version) == ("doc-0", 2)
    assert await record.change("acme", "uid", 99) is None


@pytest.mark.parametrize("after", range(DOCUMENTS + 2))
async def test_a_log_is_read_whole_however_many_trips_it_takes(filled: Store, after: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_store, "_ROWS_A_TRIP", 4)
    changes = await MongoRecord(filled).changes_after("acme", "uid", after)
    assert [change.seq for change in changes] == list(range(after + 1, DOCUMENTS + 2))


async def test_a_server_leaves_a_snapshot_and_the_next_one_answers_from_it(filled: Store, tmp_path: Path):
    settings = QuerySettings(_env_file=None, index_dir=tmp_path / "indexes")
    for start in range(2):
        record = MongoRecord(filled)
        read: list[str] = []
        chunks_of = record.chunks_of

        async def noted(tenant_id, uid, versions, model, chunks_of=chunks_of, read=read):
            read.extend(versions)
            return await chunks_of(tenant_id, uid, versions, model)

        record.chunks_of = noted  # type: ignore[method-assign]
        async with kept_indexes(settings, record) as follow:
            collection = await record.collection("acme", "manual")
            assert collection is not None
            index = await follow.at_least(collection, DOCUMENTS + 1, Context())
            hits = index.search(Search("luz", SearchMode.LEXICAL, 100, 100))
            assert len(hits.candidates) == 2 * DOCUMENTS - 1
            assert len(read) == (0 if start else DOCUMENTS)
    assert len(below(tmp_path, "indexes/*/snapshot-*")) == 1
    assert below(tmp_path, "indexes/work/*") == []


async def test_the_mesh_compares_and_mends_by_one_call(filled: Store, store_settings: StoreSettings, tmp_path: Path):
    settings = QuerySettings(_env_file=None, port=0, drain_grace_s=1, index_dir=tmp_path)
    record = MongoRecord(filled)
    async with (
        kept_indexes(settings, record) as follow,
        channel_to(settings, index_services(record, follow)) as channel,
    ):
        check = index_pb2_grpc.InternalIndexServiceStub(channel).CheckIndexes

        async def checked(**fields) -> index_pb2.IndexCheck:
            response = await check(index_pb2.CheckIndexesRequest(**fields), metadata=metadata("acme"), timeout=30)
            [one] = response.data.checks
            assert response.success
            assert response.message == f"1 {index_pb2.IndexCheck.State.Name(one.state).lower()}"
            return one

        fine = await checked()
        assert (fine.collection_id, fine.state, fine.seq) == ("manual", index_pb2.IndexCheck.OK, DOCUMENTS + 1)
        assert (fine.documents, fine.chunks) == (DOCUMENTS, 2 * DOCUMENTS - 1)
        await filled.rows("acme", "changes").update({"_id": "uid:3"}, {"$set": {"deleted": True}})
        assert (await checked(report_only=True)).state == index_pb2.IndexCheck.DIFFERS
        assert list((await checked()).differences) == ["document 'doc-2': in the index, not in the record"]
        assert (await checked(collection_id="manual")).state == index_pb2.IndexCheck.OK
        theirs = index_pb2.CheckIndexesRequest(collection_id="manual")
        assert (await refused(check(theirs, metadata=metadata("rival"), timeout=10))).reason == "COLLECTION_NOT_FOUND"
