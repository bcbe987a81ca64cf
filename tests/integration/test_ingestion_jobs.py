"""Jobs on a real record: tried again, taken over, resumed, overtaken; and what is left of what is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.errors import UnavailableError, UnreadableDocumentError
from tests.fakes.calls import refused
from tests.fakes.ingestion import Bench, ingestion, settings_of
from tests.fakes.waiting import until

SIX = "uno\ndos\ntres\ncuatro\ncinco\nseis"


@pytest.fixture
async def bench(store, store_settings) -> AsyncIterator[Bench]:
    async with ingestion(settings_of(store_settings), store) as bench:
        await bench.collection()
        yield bench


async def delete(bench: Bench, document_id: str = "doc") -> int:
    request = pb.DeleteDocumentRequest(collection_id="manual", document_id=document_id)
    return (await bench.call("DeleteDocument", request)).seq


async def changes(bench: Bench) -> list[tuple[int, str, int, bool]]:
    return [(row["seq"], row["document_id"], row["version"], row["deleted"]) for row in await bench.rows("changes")]


async def test_the_same_bytes_again_are_a_no_op(bench: Bench):
    job = await bench.ingested(SIX)
    again = await bench.create(SIX)
    assert again.job_id == job.job_id
    assert again.metadata["duplicate"].bool_value
    assert "nothing to do" in again.message
    assert await bench.count("jobs") == await bench.count("blobs") == 1
    assert await changes(bench) == [(1, "doc", 1, False)]


async def test_the_next_batch_is_computed_while_one_is_stored(bench: Bench):
    await bench.ingested("cero")  # tells the collection's model
    bench.embedder.hold()
    job = await bench.create(SIX, "other")
    await until(lambda: len(bench.embedder.calls) == 3)
    assert bench.embedder.calls[1:] == [["other\nuno", "other\ndos"], ["other\ntres", "other\ncuatro"]]
    bench.embedder.release()
    assert (await bench.ended(job.job_id)).state == pb.Job.SUCCEEDED
    assert [row["ordinal"] for row in await bench.rows("chunks", document_id="other")] == [0, 1, 2, 3, 4, 5]


async def test_the_first_batch_tells_the_model_to_the_others(bench: Bench):
    bench.embedder.hold()
    job = await bench.create(SIX)
    await until(lambda: bench.embedder.calls)
    await until(lambda: bench.count("jobs", stage="EMBED"))  # a step that takes long is shown
    assert len(bench.embedder.calls) == 1
    bench.embedder.models = ["first", "fake-words"]
    bench.embedder.release()
    await bench.ended(job.job_id)
    assert {row["model"] for row in await bench.rows("chunks")} == {"first"}


async def test_the_same_bytes_with_other_metadata_are_a_new_version(bench: Bench):
    await bench.ingested(SIX)
    job = await bench.ingested(SIX, metadata=pb.DocumentUploadMetadata(title="Otro"))
    assert job.version == 2


async def test_changed_bytes_are_a_new_version_and_the_old_one_is_removed(bench: Bench):
    await bench.ingested(SIX)
    second = await bench.ingested("siete\nocho")
    assert (second.version, second.seq) == (2, 2)
    document = await bench.document()
    assert (document.version, document.chunks, document.state) == (2, 2, pb.Document.READY)
    assert {row["version"] for row in await bench.rows("chunks")} == {2}
    assert [row["data"] for row in await bench.rows("blobs")] == [b"siete\nocho"]


async def test_one_request_key_side_by_side_makes_one_job(bench: Bench):
    calls = [bench.create(SIX, "doc", request_id="key") for _ in range(8)]
    answers = await asyncio.gather(*calls)
    assert len({answer.job_id for answer in answers}) == 1
    assert [answer.metadata["duplicate"].bool_value for answer in answers].count(False) == 1
    await bench.ended(answers[0].job_id)
    assert await bench.count("jobs") == await bench.count("blobs") == 1
    assert len(await changes(bench)) == 1


async def test_a_request_key_answers_with_the_first_result_whatever_follows(bench: Bench):
    first = await bench.create(SIX, "doc", request_id="key")
    await bench.ended(first.job_id)
    again = await bench.create("something else", "doc", request_id="key")
    assert again.job_id == first.job_id
    assert (await bench.document()).sha256 == again.document.sha256
    assert await bench.count("blobs") == 1


async def test_a_failure_of_the_world_is_retried_until_it_is_well(bench: Bench):
    bench.embedder.failures = [UnavailableError("embedding server") for _ in range(2)]
    for failure in bench.embedder.failures:
        failure.retry_after_s = 0.01
    job = await bench.ingested(SIX)
    assert job.attempts == 3
    assert not job.HasField("error")


async def test_a_waiting_job_says_why_it_waits(bench: Bench):
    failure = UnavailableError("embedding server")
    failure.retry_after_s = 60
    bench.embedder.failures = [failure]
    accepted = await bench.create(SIX)

    async def said() -> pb.Job | None:
        job = await bench.job(accepted.job_id)
        return job if job.HasField("error") else None

    job = await until(said)
    assert (job.state, job.error.type) == (pb.Job.PENDING, "DEPENDENCY_UNAVAILABLE")


async def test_a_document_that_cannot_be_read_fails_for_good_and_says_why(bench: Bench):
    bench.reader.failure = UnreadableDocumentError("It is damaged.", details={"content_type": "text/plain"})
    job = await bench.ended((await bench.create(SIX)).job_id)
    assert (job.state, job.attempts, job.error.type) == (pb.Job.FAILED, 1, "UNREADABLE_DOCUMENT")
    assert job.error.details["message"] == "It is damaged."
    document = await bench.document()
    assert (document.state, document.error.type) == (pb.Document.FAILED, "UNREADABLE_DOCUMENT")
    assert await changes(bench) == []


async def test_the_same_bytes_are_tried_again_after_a_failure(bench: Bench):
    bench.reader.failure = UnreadableDocumentError("It is damaged.")
    await bench.ended((await bench.create(SIX)).job_id)
    await bench.ingested(SIX)
    document = await bench.document()
    assert (document.state, document.HasField("error")) == (pb.Document.READY, False)


async def test_a_failed_new_version_leaves_the_old_one_searchable(bench: Bench):
    await bench.ingested(SIX)
    bench.reader.failure = UnreadableDocumentError("It is damaged.")
    await bench.ended((await bench.create("broken")).job_id)
    document = await bench.document()
    assert (document.state, document.version, document.error.type) == (pb.Document.READY, 1, "UNREADABLE_DOCUMENT")
    assert await bench.count("chunks", version=1) == 6


async def test_an_unexpected_failure_is_tried_a_few_times_and_its_words_are_not_told(store, store_settings):
    async with ingestion(settings_of(store_settings, max_attempts=1), store) as bench:
        await bench.collection()
        bench.reader.failure = ValueError("password=hunter2")
        job = await bench.ended((await bench.create(SIX)).job_id)
    assert (job.state, job.error.type) == (pb.Job.FAILED, "INTERNAL")
    assert "hunter2" not in str(job)


async def test_a_document_without_text_fails(bench: Bench):
    job = await bench.ended((await bench.create("\u200b")).job_id)
    assert job.state == pb.Job.SUCCEEDED  # a zero-width space is a character
    bench.reader.chunk = lambda extracted: asyncio.sleep(0, [])
    job = await bench.ended((await bench.create("blank page", "other")).job_id)
    assert (job.state, job.error.type) == (pb.Job.FAILED, "UNREADABLE_DOCUMENT")


async def test_a_job_of_a_dead_worker_is_taken_over_and_resumes_after_the_last_stored_batch(store, store_settings):
    settings = settings_of(store_settings, lease_s=0.3)
    async with ingestion(settings, store) as first:
        await first.collection()
        embed = first.embedder.embed

        async def dying(texts, context, model):
            if len(first.embedder.calls) == 2:
                first.embedder.hold()
            return await embed(texts, context, model)

        first.embedder.embed = dying
        accepted = await first.create(SIX, metadata=pb.DocumentUploadMetadata(title="Números"))
        await until(lambda: len(first.embedder.calls) == 3)  # two batches are stored, the third is under way
    assert await first.count("jobs", state="RUNNING") == 1  # its worker was cancelled and told nobody
    async with ingestion(settings, store) as second:
        job = await second.ended(accepted.job_id)
        assert second.embedder.calls == [["Números\ncinco", "Números\nseis"]]
        assert (job.state, job.attempts, job.chunks_done) == (pb.Job.SUCCEEDED, 2, 6)
        assert sorted(row["text"] for row in await second.rows("chunks")) == sorted(SIX.split())
        assert len({row["ordinal"] for row in await second.rows("chunks")}) == 6


async def test_a_lease_is_kept_while_the_work_takes_long(store, store_settings):
    async with ingestion(settings_of(store_settings, lease_s=0.3), store) as bench:
        await bench.collection()
        bench.embedder.hold()
        accepted = await bench.create("uno")
        await until(lambda: bench.embedder.calls)
        [leased] = await bench.rows("jobs")

        async def renewed() -> bool:
            [job] = await bench.rows("jobs")
            return job["available_at"] > leased["available_at"] + 400  # well past the first lease

        await until(renewed)
        bench.embedder.release()
        assert (await bench.ended(accepted.job_id)).attempts == 1
    assert len(bench.embedder.calls) == 1


async def test_an_overtaken_version_never_becomes_visible(bench: Bench):
    embed, go_on = bench.embedder.embed, asyncio.Event()

    async def slow_for_the_first(texts, context, model):
        if "lento" in texts[0]:
            await go_on.wait()
        return await embed(texts, context, model)

    bench.embedder.embed = slow_for_the_first
    slow = await bench.create("lento")
    await bench.ingested("rápido")
    go_on.set()
    overtaken = await bench.ended(slow.job_id)
    assert (overtaken.state, overtaken.seq) == (pb.Job.SUCCEEDED, 1)  # a newer version was visible already
    assert await changes(bench) == [(1, "doc", 2, False)]
    assert [row["text"] for row in await bench.rows("chunks")] == ["rápido"]
    assert (await bench.document()).version == 2


async def test_a_deleted_document_is_gone_and_can_be_added_again(bench: Bench):
    await bench.ingested(SIX)
    seq = await delete(bench)
    assert seq == 2
    assert (await refused(bench.document())).reason == "DOCUMENT_NOT_FOUND"
    assert not (await bench.call("ListDocuments", pb.ListDocumentsRequest(collection_id="manual"))).documents
    assert await bench.count("chunks") == await bench.count("blobs") == 0
    job = await bench.ingested(SIX)
    assert job.seq == 3
    assert job.version > 2
    assert await changes(bench) == [(1, "doc", 1, False), (2, "doc", 2, True), (3, "doc", 3, False)]
    assert (await bench.document()).chunks == 6


async def test_a_document_deleted_while_its_job_runs_stays_deleted(bench: Bench):
    bench.embedder.hold()
    accepted = await bench.create(SIX)
    await until(lambda: bench.embedder.calls)
    await delete(bench)
    bench.embedder.release()
    await bench.ended(accepted.job_id)
    assert (await refused(bench.document())).reason == "DOCUMENT_NOT_FOUND"
    assert [deleted for *_, deleted in await changes(bench)] == [True]
    assert await bench.count("chunks") == await bench.count("blobs") == 0


@pytest.mark.parametrize("request_id", ["", "key"])
async def test_a_collection_made_again_shows_nothing_of_the_old_one(bench: Bench, request_id: str):
    made = pb.CreateCollectionRequest(collection_id="tmp", request_id=request_id)
    await bench.call("CreateCollection", made)
    old = await bench.ingested(SIX, collection_id="tmp")
    [old_row] = await bench.rows("collections", collection_id="tmp")
    await bench.call("DeleteCollection", pb.DeleteCollectionRequest(collection_id="tmp"))
    assert (await refused(bench.document(collection_id="tmp"))).reason == "COLLECTION_NOT_FOUND"
    assert [await bench.count(name) for name in ("documents", "chunks", "changes", "blobs", "jobs")] == [0] * 5
    again = await bench.call("CreateCollection", made)
    assert again.collection.seq == 0
    assert (await refused(bench.document(collection_id="tmp"))).reason == "DOCUMENT_NOT_FOUND"
    assert (await refused(bench.call("GetJob", pb.GetJobRequest(job_id=old.job_id)))).reason == "JOB_NOT_FOUND"
    [new_row] = await bench.rows("collections", collection_id="tmp")
    assert new_row["_id"] != old_row["_id"]  # indexes are kept by it: the same one would show the old documents
    assert (await bench.ingested(SIX, collection_id="tmp")).seq == 1


async def test_a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start(store, store_settings):
    async with ingestion(settings_of(store_settings), store) as bench:
        await bench.collection()
        await bench.ingested(SIX)
        await store.rows("acme", "collections").update({}, {"$set": {"deleted": True, "collection_id": "~x"}})
    async with ingestion(settings_of(store_settings), store) as bench:
        names = ("collections", "documents", "chunks", "changes", "blobs", "jobs")
        assert [await bench.count(name) for name in names] == [0] * 6


async def test_the_embedder_is_called_for_the_tenant_and_the_request(bench: Bench):
    await bench.ingested("uno")
    [context] = bench.embedder.contexts
    assert (context.tenant_id, context.collection_id) == ("acme", "manual")
    assert context.request_id
