"""Changing the embedding model of a collection: whole before, whole after, and nothing stranded in between."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.channel import open_channel
from common.context import Context
from common.models import SearchMode
from common.settings import StoreSettings
from common.store import Store
from services.query.adapters.embedder import MeshEmbedder
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.record import MongoRecord
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.usecases.follow import FollowCollections
from services.query.usecases.search import SearchPassages, SearchSpec
from tests.fakes.calls import metadata, refused
from tests.fakes.engine import FakeEngine
from tests.fakes.ingestion import Bench, ingestion, settings_of
from tests.fakes.servers import embedding_server
from tests.fakes.waiting import until
from tests.integration.test_ingestion_crash import BATCH, lines_of, running

OLD, NEW = "fake-words", "other-words"
NAMES = ("uno", "dos", "tres")


@pytest.fixture
async def bench(store: Store, store_settings: StoreSettings) -> AsyncIterator[Bench]:
    async with ingestion(settings_of(store_settings), store) as bench:
        bench.embedder.models.append(NEW)
        await bench.collection()
        yield bench


def reindex(bench: Bench, model: str = NEW, **fields: Any) -> Any:
    request = pb.ReindexCollectionRequest(**{"collection_id": "manual", "model": model, **fields})
    return bench.call("ReindexCollection", request)


async def models_of(bench: Bench) -> list[tuple[str, str]]:
    """Returns (chunk, model) of all that is stored."""
    return sorted((row["chunk_id"], row["model"]) for row in await bench.rows("chunks"))


async def collection(bench: Bench) -> pb.Collection:
    return (await bench.call("GetCollection", pb.GetCollectionRequest(collection_id="manual"))).collection


async def test_a_reindex_switches_in_one_change_and_removes_the_old_vectors(bench: Bench):
    first = await bench.ingested("a\nb\nc", "x")
    await bench.ingested("d", "y")
    await bench.ingested("e\nf", "y")
    assert (await collection(bench)).model == OLD
    begun = (await reindex(bench, request_id="once")).job
    assert (begun.kind, begun.model, begun.document_id) == (pb.Job.REINDEX, NEW, "")
    ended = await bench.ended(begun.job_id)
    assert (ended.state, ended.chunks_done, ended.chunks_total, ended.seq) == (pb.Job.SUCCEEDED, 5, 5, 4)
    assert (await collection(bench)).model == NEW
    assert await models_of(bench) == [(f"{name}:{v}:{i}", NEW) for name, v, n in (("x", 1, 3), ("y", 2, 2)) for i in range(n)]
    log = [(row["document_id"], row["model"]) for row in await bench.rows("changes")]
    assert log == [("x", OLD), ("y", OLD), ("y", OLD), ("", NEW)]
    assert (await reindex(bench, request_id="once")).job.job_id == begun.job_id
    again = await bench.ended((await reindex(bench)).job.job_id)
    assert (again.state, again.seq) == (pb.Job.SUCCEEDED, 4), "there was nothing to change"
    assert (await bench.ingested("g", "z")).seq == 5
    assert ("z:1:0", NEW) in await models_of(bench)
    assert first.kind == pb.Job.INGEST


async def test_a_document_that_comes_meanwhile_is_there_before_and_after(bench: Bench):
    await bench.ingested("a\nb", "x")
    held, embed = asyncio.Event(), bench.embedder.embed

    async def slow(texts, context, model):
        if model == NEW and "a" in texts[0]:
            await held.wait()
        return await embed(texts, context, model)

    bench.embedder.embed = slow
    begun = (await reindex(bench)).job
    await bench.ingested("c", "y")
    assert (await collection(bench)).model == OLD
    assert await models_of(bench) >= [("x:1:0", OLD), ("x:1:1", OLD)]
    assert ("y:1:0", NEW) in await models_of(bench), "it would have outrun the move"
    held.set()
    assert (await bench.ended(begun.job_id)).state == pb.Job.SUCCEEDED
    assert await models_of(bench) == [("x:1:0", NEW), ("x:1:1", NEW), ("y:1:0", NEW)]


async def test_a_document_that_began_before_the_switch_and_ends_after_it_is_of_the_new_model(bench: Bench):
    held, seen, embed = asyncio.Event(), asyncio.Event(), bench.embedder.embed
    await bench.ingested("a", "x")

    async def slow(texts, context, model):
        vectors = await embed(texts, context, model)
        if "late" in texts[0] and not held.is_set():
            seen.set()
            await held.wait()
        return vectors

    bench.embedder.embed = slow
    late = await bench.create("late\nlater", "y")
    await seen.wait()
    assert (await bench.ended((await reindex(bench)).job.job_id)).state == pb.Job.SUCCEEDED
    held.set()
    ended = await bench.ended(late.job_id)
    assert (ended.state, ended.seq) == (pb.Job.SUCCEEDED, 3)
    assert await models_of(bench) == [("x:1:0", NEW), ("y:1:0", NEW), ("y:1:1", NEW)]


async def test_a_cancelled_reindex_leaves_the_collection_as_it_was(bench: Bench):
    await bench.ingested("a\nb\nc", "x")
    embed, reached, held = bench.embedder.embed, asyncio.Event(), asyncio.Event()

    async def slow(texts, context, model):
        if texts == ["x\nc"]:
            reached.set()
            await held.wait()
        return await embed(texts, context, model)

    bench.embedder.embed = slow
    begun = (await reindex(bench)).job
    await reached.wait()
    assert len(await models_of(bench)) == 5
    busy = await refused(reindex(bench, OLD))
    assert (busy.code, busy.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REINDEX_RUNNING")
    assert begun.job_id in busy.message
    assert (await reindex(bench)).job.job_id == begun.job_id
    cancelled = await bench.call("CancelJob", pb.CancelJobRequest(job_id=begun.job_id))
    assert cancelled.job.state == pb.Job.CANCELLED
    held.set()
    await until(lambda: only_old(bench))
    assert (await collection(bench)).model == OLD
    assert (await bench.ended((await reindex(bench)).job.job_id)).state == pb.Job.SUCCEEDED
    assert {model for _, model in await models_of(bench)} == {NEW}


async def only_old(bench: Bench) -> bool:
    return await models_of(bench) == [(f"x:1:{i}", OLD) for i in range(3)]


async def test_an_empty_collection_takes_the_model_too(bench: Bench):
    assert (await bench.ended((await reindex(bench)).job.job_id)).state == pb.Job.SUCCEEDED
    await bench.ingested("a", "x")
    assert await models_of(bench) == [("x:1:0", NEW)]


async def test_a_model_that_is_not_served_is_not_found(bench: Bench):
    failure = await refused(reindex(bench, "unheard-of"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    failure = await refused(reindex(bench, collection_id="none"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


async def test_documents_of_a_model_that_is_served_no_more_wait_for_the_reindex(bench: Bench):
    await bench.ingested("a", "x")
    bench.embedder.models = [NEW]  # the configured model changed
    waiting = await bench.create("b", "y")

    async def told() -> Any:
        job = await bench.job(waiting.job_id)
        return job if job.error.type else None

    job = await until(told)
    assert (job.state, job.error.type) == (pb.Job.PENDING, "MODEL_NOT_SERVED")
    assert "malla reindex --collection manual" in job.error.details["message"]
    assert (await bench.ended((await reindex(bench, "")).job.job_id)).model == NEW
    await bench.store.all_tenants("jobs").update({"_id": waiting.job_id}, {"$set": {"available_at": 0}})
    assert (await bench.ended(waiting.job_id)).state == pb.Job.SUCCEEDED
    assert await models_of(bench) == [("x:1:0", NEW), ("y:1:0", NEW)]


@asynccontextmanager
async def searching(store: Store, mesh: str) -> AsyncIterator[SearchPassages]:
    record = MongoRecord(store)
    follow = FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=20)
    async with open_channel(mesh) as channel:
        yield SearchPassages(record, MeshEmbedder(channel), follow)
        await follow.close()


async def documents_found(search: SearchPassages) -> set[str]:
    """Returns the documents that a search by vectors finds, when it asks for every passage."""
    spec = SearchSpec("manual", "línea del documento", k=100, mode=SearchMode.DENSE)
    found = await search(spec, Context(tenant_id="acme"))
    return {f"{result.document_id}:{len(result.chunk_ids)}" for result in found.results}


@pytest.mark.timeout(100)
async def test_killed_in_the_middle_it_resumes_and_searches_are_whole_all_the_time(
    store: Store, store_settings: StoreSettings, free_port: int
):
    old, new = FakeEngine(dimensions=16, model=OLD), FakeEngine(dimensions=24, model=NEW)
    async with (
        embedding_server(old, others=[new]) as mesh,
        running(store_settings, mesh, free_port) as server,
        searching(store, mesh) as search,
    ):
        await server.stub.CreateCollection(pb.CreateCollectionRequest(collection_id="manual"), metadata=metadata(), timeout=5)
        for name in NAMES:
            text = "\n".join(lines_of(name)[:9])
            request = pb.CreateDocumentRequest(collection_id="manual", text=text, document_id=name)
            await server.stub.CreateDocument(request, metadata=metadata(), timeout=10)
        await until(lambda: ended(store, 3), 40)
        whole = await documents_found(search)
        assert {one.partition(":")[0] for one in whole} == set(NAMES)
        request = pb.ReindexCollectionRequest(collection_id="manual", model=NEW)
        job = (await server.stub.ReindexCollection(request, metadata=metadata(), timeout=10)).job
        await new.begun(3)  # the asking, and two batches
        new.hold()
        await new.begun(len(new.batches) + 1)
        server.end(signal.SIGKILL)
        assert await documents_found(search) == whole
        assert old.batches[-1] == ["línea del documento"]
        computed = len(new.computed)
        new.release()
        await server.start()
        await until(lambda: ended(store, 4), 40)
        row = await store.rows("acme", "jobs").find_one({"_id": job.job_id})
        assert row is not None
        assert (row["state"], row["attempts"]) == ("SUCCEEDED", 2)
        assert len(new.computed) - computed <= 27 - BATCH, "what was stored was computed again"
        await until(lambda: switched(search, whole, new))
        assert await store.rows("acme", "chunks").count({"model": OLD}) == 0
        assert await store.rows("acme", "chunks").count({"model": NEW}) == 27
        assert await store.rows("acme", "changes").count({"document_id": ""}) == 1


async def switched(search: SearchPassages, whole: set[str], new: FakeEngine) -> bool:
    """Whether a search used the new model; it found everything, whichever it used."""
    before = len(new.batches)
    assert await documents_found(search) == whole
    return len(new.batches) > before


async def ended(store: Store, jobs: int) -> bool:
    return await store.rows("acme", "jobs").count({"state": "SUCCEEDED"}) == jobs
