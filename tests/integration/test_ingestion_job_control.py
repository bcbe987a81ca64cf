"""Jobs in hand on a real record: listed, cancelled, tried again, given up; and bytes that no job names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.errors import UnreadableDocumentError
from common.store import now_ms
from services.ingestion.adapters.contents import MongoBlobs, MongoChunks
from services.ingestion.adapters.jobs import MongoJobs
from services.ingestion.usecases.jobs import Release, Sweep
from tests.fakes.calls import refused
from tests.fakes.ingestion import Bench, ingestion, settings_of
from tests.fakes.waiting import until

FOUR = "uno\ndos\ntres\ncuatro"


@pytest.fixture
async def bench(store, store_settings) -> AsyncIterator[Bench]:
    async with ingestion(settings_of(store_settings), store) as bench:
        await bench.collection()
        yield bench


async def cancel(bench: Bench, job_id: str) -> pb.Job:
    return (await bench.call("CancelJob", pb.CancelJobRequest(job_id=job_id))).job


async def retry(bench: Bench, job_id: str) -> pb.Job:
    return (await bench.call("RetryJob", pb.RetryJobRequest(job_id=job_id))).job


async def listed(bench: Bench, **fields) -> list[str]:
    return [job.job_id for job in (await bench.call("ListJobs", pb.ListJobsRequest(**fields))).jobs]


async def running(bench: Bench, text: str = FOUR, document_id: str = "doc") -> str:
    """A job whose second batch is under way; the first is stored."""
    embed, before = bench.embedder.embed, len(bench.embedder.calls)

    async def slow(texts, context, model):
        if len(bench.embedder.calls) == before + 1:
            bench.embedder.hold()
        return await embed(texts, context, model)

    bench.embedder.embed = slow
    accepted = await bench.create(text, document_id)
    await until(lambda: len(bench.embedder.calls) == before + 2)
    bench.embedder.embed = embed
    return accepted.job_id


async def test_a_cancelled_job_ends_and_leaves_nothing(bench: Bench):
    job_id = await running(bench)
    assert await bench.count("chunks") == 2
    assert (await cancel(bench, job_id)).state == pb.Job.CANCELLED
    bench.embedder.release()
    assert (await bench.ended(job_id)).state == pb.Job.CANCELLED

    async def gone() -> bool:  # also the batch that was under way
        return await bench.count("chunks") == await bench.count("blobs") == await bench.count("uploads") == 0

    await until(gone)
    assert await bench.count("changes") == 0
    document = await bench.document()
    assert (document.state, document.error.type) == (pb.Document.FAILED, "JOB_CANCELLED")
    assert (await cancel(bench, job_id)).state == pb.Job.CANCELLED  # again: no harm


async def test_a_cancelled_document_can_be_sent_again(bench: Bench):
    await cancel(bench, await running(bench))
    bench.embedder.release()
    await bench.ingested(FOUR)
    assert (await bench.document()).state == pb.Document.READY
    assert await bench.count("chunks") == 4


async def test_cancelling_a_new_version_leaves_the_old_one_searchable(bench: Bench):
    await bench.ingested("viejo")
    bench.embedder.calls.clear()
    await cancel(bench, await running(bench))
    bench.embedder.release()
    document = await bench.document()
    assert (document.state, document.version, document.error.type) == (pb.Document.READY, 1, "JOB_CANCELLED")
    assert await bench.count("chunks", version=1) == 1


async def test_a_waiting_job_is_cancelled_before_a_worker_sees_it(store, store_settings):
    async with ingestion(settings_of(store_settings, ingestion_workers=0), store) as idle:
        await idle.collection()
        accepted = await idle.create(FOUR)
        await cancel(idle, accepted.job_id)
    async with ingestion(settings_of(store_settings), store) as bench:
        await bench.ingested("otro", "other")  # the worker had its look
        assert (await bench.job(accepted.job_id)).state == pb.Job.CANCELLED
        assert (await bench.job(accepted.job_id)).attempts == 0


async def test_what_has_ended_or_is_becoming_visible_is_not_cancelled(bench: Bench):
    job = await bench.ingested(FOUR)
    failure = await refused(cancel(bench, job.job_id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_STATE")
    assert "Delete the document" in failure.message
    job_id = await running(bench, "cinco\nseis\nsiete", "other")
    await bench.store.all_tenants("jobs").update({"_id": job_id}, {"$set": {"publishing": True}})
    failure = await refused(cancel(bench, job_id))
    assert "just becoming visible" in failure.message


async def test_no_job_of_nobody_or_of_another_tenant(bench: Bench):
    job = await bench.ingested(FOUR)
    for name, request in (("CancelJob", pb.CancelJobRequest), ("RetryJob", pb.RetryJobRequest)):
        assert (await refused(bench.call(name, request(job_id="none")))).reason == "JOB_NOT_FOUND"
        assert (await refused(bench.call(name, request(job_id=job.job_id), "other"))).reason == "JOB_NOT_FOUND"
    assert not (await bench.call("ListJobs", pb.ListJobsRequest(), "other")).jobs


async def test_cancelling_races_with_publishing_and_one_of_them_wins(bench: Bench):
    for i in range(20):
        accepted = await bench.create(f"texto {i}", f"doc-{i}")
        await asyncio.sleep(0.002 * i)
        answer = await asyncio.gather(cancel(bench, accepted.job_id), return_exceptions=True)
        job = await bench.ended(accepted.job_id)
        visible = await bench.count("changes", document_id=f"doc-{i}")
        assert visible == (1 if job.state == pb.Job.SUCCEEDED else 0)
        assert isinstance(answer[0], Exception) == (job.state == pb.Job.SUCCEEDED)


async def test_a_failed_job_is_tried_again_when_asked(bench: Bench):
    bench.reader.failure = UnreadableDocumentError("It is damaged.")
    failed = await bench.ended((await bench.create(FOUR)).job_id)
    assert failed.state == pb.Job.FAILED
    again = await retry(bench, failed.job_id)
    assert again.state in {pb.Job.PENDING, pb.Job.RUNNING, pb.Job.SUCCEEDED}
    assert (await bench.ended(failed.job_id)).state == pb.Job.SUCCEEDED
    document = await bench.document()
    assert (document.state, document.HasField("error")) == (pb.Document.READY, False)
    assert (await refused(retry(bench, failed.job_id))).reason == "JOB_STATE"


async def test_a_job_that_still_runs_is_not_tried_twice(bench: Bench):
    job_id = await running(bench)
    assert (await retry(bench, job_id)).state == pb.Job.RUNNING
    bench.embedder.release()
    assert (await bench.ended(job_id)).attempts == 1


async def test_a_job_whose_bytes_are_gone_is_not_tried_again(bench: Bench):
    bench.reader.failure = UnreadableDocumentError("It is damaged.")
    failed = await bench.ended((await bench.create(FOUR)).job_id)
    await bench.ingested("nuevo")
    failure = await refused(retry(bench, failed.job_id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_STATE")
    assert "Send the document again" in failure.message


async def test_a_job_that_kills_its_workers_is_given_up(store, store_settings):
    settings = settings_of(store_settings, lease_s=0.2, max_attempts=3)
    async with ingestion(settings_of(store_settings, ingestion_workers=0), store) as idle:
        await idle.collection()
        poison = (await idle.create(FOUR)).job_id
    jobs = MongoJobs(store)
    for _ in range(3):  # what a worker that dies at once leaves in the record
        leased = await jobs.lease("dead", now_ms() + 1, now_ms())
        assert leased is not None
    async with ingestion(settings, store) as bench:
        job = await bench.ended(poison)
        assert (job.state, job.attempts, job.error.type) == (pb.Job.FAILED, 4, "WORKER_DIED_REPEATEDLY")
        assert job.error.details["times"] == 3
        assert (await bench.document()).error.type == "WORKER_DIED_REPEATEDLY"
        assert not bench.embedder.calls
        await retry(bench, poison)  # the operator mended it
        assert (await bench.ended(poison)).state == pb.Job.SUCCEEDED


async def test_a_stopping_server_hands_its_jobs_back(store, store_settings):
    settings = settings_of(store_settings, lease_s=600)  # nobody waits that long
    async with ingestion(settings, store) as first:
        await first.collection()
        job_id = await running(first)
    [row] = await first.rows("jobs")
    assert row["unfinished"] == 0
    async with ingestion(settings, store) as second:
        assert (await second.ended(job_id)).state == pb.Job.SUCCEEDED


async def test_jobs_are_listed_the_newest_first_page_by_page(bench: Bench):
    await bench.collection("other")
    made = [(await bench.ingested(f"texto {i}", f"doc-{i}")).job_id for i in range(3)]
    made.append((await bench.ingested("otro", collection_id="other")).job_id)
    bench.reader.failure = UnreadableDocumentError("It is damaged.")
    made.append((await bench.ended((await bench.create("roto", "broken")).job_id)).job_id)
    assert await listed(bench) == made[::-1]
    assert await listed(bench, state=pb.Job.FAILED) == made[4:]
    assert await listed(bench, collection_id="other") == [made[3]]
    assert await listed(bench, collection_id="other", state=pb.Job.FAILED) == []
    paged, token = [], ""
    while True:
        page = await bench.call("ListJobs", pb.ListJobsRequest(page_size=2, page_token=token))
        paged += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert paged == made[::-1]


@pytest.mark.parametrize("token", ["bm9uc2Vuc2U=", "!"])
async def test_a_foreign_page_token_is_refused(bench: Bench, token: str):
    assert (
        await refused(bench.call("ListJobs", pb.ListJobsRequest(page_token=token)))
    ).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_jobs_of_no_collection_are_not_found(bench: Bench):
    assert (await refused(bench.call("ListJobs", pb.ListJobsRequest(collection_id="none")))).reason == "COLLECTION_NOT_FOUND"


async def test_bytes_without_a_job_are_removed_by_age(bench: Bench):
    store = bench.store
    jobs, blobs = MongoJobs(store), MongoBlobs(store)
    accepted = await bench.ingested("vale")
    [kept] = await bench.rows("blobs")
    await blobs.write("acme", "blob-broken", 0, b"half")  # the server died here
    await blobs.write("acme", "blob-broken", 1, b"way")
    await store.rows("acme", "uploads").insert({"_id": kept["blob_id"], "begun_at": 1})  # or here: the job's row was there
    release = Release(jobs, MongoChunks(store), blobs, abandon=None)
    await Sweep(jobs, blobs, release, age_s=3600)()
    assert await bench.count("blobs", blob_id="blob-broken") == 2  # it may still be under way
    await Sweep(jobs, blobs, release, age_s=-1)()
    assert [row["blob_id"] for row in await bench.rows("blobs")] == [kept["blob_id"]]
    assert await bench.count("uploads") == 0
    assert accepted.state == pb.Job.SUCCEEDED


async def test_what_a_crash_left_of_a_cancelled_job_is_removed(store, store_settings):
    async with ingestion(settings_of(store_settings), store) as bench:
        await bench.collection()
        job_id = await running(bench)
        await MongoJobs(store).cancel("acme", job_id, now_ms())  # and then the server died
        bench.embedder.release()
    async with ingestion(settings_of(store_settings), store) as bench:

        async def gone() -> bool:
            return await bench.count("blobs") == await bench.count("chunks") == 0

        await until(gone)
        [row] = await bench.rows("jobs")
        assert row["blob_id"] == ""


async def test_an_upload_that_never_ends_is_ended(store, store_settings):
    async with ingestion(settings_of(store_settings, upload_timeout_s=0.2), store) as bench:
        await bench.collection()

        async def pieces():
            yield pb.UploadDocumentRequest(collection_id="manual", filename="a.txt", file={"data": b"x"})
            await asyncio.Event().wait()

        assert (await refused(bench.call("UploadDocument", pieces()))).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await bench.count("blobs") == await bench.count("uploads") == 0
