"""Collections, documents and jobs over gRPC on a real record: what is acknowledged, refused, listed and seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.api import httpbody_pb2
from malla.ingestion.v1 import ingestion_pb2 as pb

from tests.fakes.calls import metadata, refused
from tests.fakes.ingestion import Bench, ingestion, settings_of
from tests.fakes.waiting import until

MIB = 1024 * 1024


@pytest.fixture
async def bench(store, store_settings) -> AsyncIterator[Bench]:
    async with ingestion(settings_of(store_settings, upload_max_bytes=4 * MIB), store) as bench:
        await bench.collection()
        yield bench


def piece(data: bytes, **first: object) -> pb.UploadDocumentRequest:
    content_type = str(first.pop("content_type", ""))
    return pb.UploadDocumentRequest(file=httpbody_pb2.HttpBody(data=data, content_type=content_type), **first)


def upload(bench: Bench, *pieces: pb.UploadDocumentRequest, tenant: str = "acme"):
    return bench.stub.UploadDocument(iter(pieces), metadata=metadata(tenant), timeout=20)


async def test_an_upload_is_acknowledged_processed_and_followed(bench: Bench):
    parts = [piece(b"uno\n", collection_id="manual", filename="Notas.txt"), piece(b"dos\n"), piece(b"tres\n")]
    response = await upload(bench, *parts)
    assert response.success
    assert (response.document.document_id, response.document.bytes) == ("Notas.txt", 13)
    states = [r.job.state async for r in bench.call("WatchJob", pb.WatchJobRequest(job_id=response.job_id))]
    assert states[-1] == pb.Job.SUCCEEDED
    job = await bench.job(response.job_id)
    assert (job.chunks_total, job.chunks_done, job.seq, job.version) == (3, 3, 1, 1)
    document = await bench.document("Notas.txt")
    assert (document.state, document.chunks, document.version) == (pb.Document.READY, 3, 1)
    assert document.metadata.content_type == "text/plain"


@pytest.mark.parametrize(
    ("first", "field"),
    [({"filename": "a.txt"}, "collection_id"), ({"collection_id": "manual"}, "filename")],
)
async def test_an_upload_must_say_what_it_is(bench: Bench, first, field):
    failure = await refused(upload(bench, piece(b"x", **first)))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.detail("BadRequest").field_violations[0].field == field


BAD_UPLOADS = {
    "no message": ([], "INVALID_ARGUMENT", "at least one message"),
    "no bytes": ([piece(b"", collection_id="manual", filename="a.txt")], "UNREADABLE_DOCUMENT", "empty"),
    "unknown type": (
        [piece(b"\x89PNG\r\n\x1a\n" + bytes(9), collection_id="manual", filename="a.png")],
        "UNSUPPORTED_CONTENT",
        "text/markdown",
    ),
    "no pdf": (
        [piece(b"no such thing", collection_id="manual", filename="a.pdf")],
        "UNREADABLE_DOCUMENT",
        "not application/pdf",
    ),
    "bad identifier": (
        [piece(b"x", collection_id="manual", filename="a.txt", document_id="a b")],
        "INVALID_ARGUMENT",
        "document_id",
    ),
    "too large": (
        [piece(b"x" * MIB, collection_id="manual", filename="a.txt"), *[piece(b"x" * MIB)] * 4],
        "UPLOAD_BYTES_EXCEEDED",
        "4,194,304",
    ),
}


@pytest.mark.parametrize(("pieces", "reason", "words"), BAD_UPLOADS.values(), ids=BAD_UPLOADS.keys())
async def test_a_bad_upload_is_refused_and_leaves_nothing(bench: Bench, pieces, reason, words):
    failure = await refused(upload(bench, *pieces))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert words in failure.message
    assert [await bench.count(name) for name in ("blobs", "jobs", "documents")] == [0, 0, 0]


async def test_an_upload_of_the_largest_size_is_taken(bench: Bench):
    lines = b"x" * (MIB - 1) + b"\n"
    bench.embedder.hold()
    response = await upload(bench, piece(lines, collection_id="manual", filename="a.txt"), *[piece(lines)] * 3)
    assert response.document.bytes == 4 * MIB


async def test_an_upload_cut_half_way_leaves_nothing(bench: Bench):
    async def half() -> AsyncIterator[pb.UploadDocumentRequest]:
        yield piece(b"x" * MIB, collection_id="manual", filename="a.txt")
        yield piece(b"x" * MIB)
        await asyncio.Event().wait()

    call = bench.stub.UploadDocument(half(), metadata=metadata())
    await until(lambda: bench.count("blobs"))
    call.cancel()

    async def nothing_left() -> bool:
        return await bench.count("blobs") == 0

    await until(nothing_left)
    assert [await bench.count(name) for name in ("jobs", "documents")] == [0, 0]


@pytest.mark.parametrize(("text", "words"), [("", "at least 1"), (" \n", "white space"), ("x" * 1_000_001, "1000000")])
async def test_a_text_must_hold_something_and_not_too_much(bench: Bench, text, words):
    failure = await refused(bench.create(text))
    assert (failure.code, failure.detail("BadRequest").field_violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "text")
    assert words in failure.message


@pytest.mark.parametrize("collection_id", ["", "Upper", "-x", "a b", "x" * 65])
async def test_a_collection_needs_a_proper_name(bench: Bench, collection_id):
    failure = await refused(bench.call("CreateCollection", pb.CreateCollectionRequest(collection_id=collection_id)))
    assert failure.detail("BadRequest").field_violations[0].field == "collection_id"
    assert "lower-case letters" in failure.message
    assert "regex" not in failure.message


UNKNOWN = {
    "GetCollection": pb.GetCollectionRequest(collection_id="none"),
    "UpdateCollection": pb.UpdateCollectionRequest(collection_id="none", collection=pb.Collection(description="x")),
    "DeleteCollection": pb.DeleteCollectionRequest(collection_id="none"),
    "CreateDocument": pb.CreateDocumentRequest(collection_id="none", text="x"),
    "ListDocuments": pb.ListDocumentsRequest(collection_id="none"),
    "GetDocument": pb.GetDocumentRequest(collection_id="none", document_id="x"),
    "DeleteDocument": pb.DeleteDocumentRequest(collection_id="none", document_id="x"),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_an_unknown_collection_is_not_found(bench: Bench, name):
    failure = await refused(bench.call(name, UNKNOWN[name]))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    assert failure.detail("ResourceNotFound").resource_id == "none"


async def test_unknown_documents_and_jobs_are_not_found(bench: Bench):
    for name, request, reason in (
        ("GetDocument", pb.GetDocumentRequest(collection_id="manual", document_id="x"), "DOCUMENT_NOT_FOUND"),
        ("DeleteDocument", pb.DeleteDocumentRequest(collection_id="manual", document_id="x"), "DOCUMENT_NOT_FOUND"),
        ("GetJob", pb.GetJobRequest(job_id="x"), "JOB_NOT_FOUND"),
        ("WatchJob", pb.WatchJobRequest(job_id="x"), "JOB_NOT_FOUND"),
    ):
        assert (await refused(bench.call(name, request))).reason == reason


async def test_every_call_needs_a_tenant(bench: Bench):
    for name, request in UNKNOWN.items():
        failure = await refused(bench.call(name, request, tenant=""))
        assert failure.code is grpc.StatusCode.UNAUTHENTICATED
    failure = await refused(upload(bench, piece(b"x", collection_id="manual", filename="a.txt"), tenant=""))
    assert failure.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_taken_name_is_refused_unless_the_request_is_repeated(bench: Bench):
    request = pb.CreateCollectionRequest(collection_id="two", language="en", request_id="key")
    first = await bench.call("CreateCollection", request)
    assert (await bench.call("CreateCollection", request)).collection == first.collection
    other = pb.CreateCollectionRequest(collection_id="two", request_id="other")
    for repeated in (other, pb.CreateCollectionRequest(collection_id="two")):
        failure = await refused(bench.call("CreateCollection", repeated))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_ALREADY_EXISTS")


async def change(bench: Bench, *mask: str, **fields: object) -> pb.Collection:
    request = pb.UpdateCollectionRequest(collection_id="manual", collection=pb.Collection(**fields))
    request.update_mask.paths.extend(mask)
    return (await bench.call("UpdateCollection", request)).collection


async def test_a_collection_says_how_much_vectors_count_and_can_stop_saying_it(bench: Bench):
    request = pb.CreateCollectionRequest(collection_id="two", dense_weight=0.25)
    assert (await bench.call("CreateCollection", request)).collection.dense_weight == 0.25
    assert not (await change(bench)).HasField("dense_weight")
    assert (await change(bench, dense_weight=0.0)).HasField("dense_weight")
    changed = await change(bench, "description", description="Para todos", dense_weight=1.0)
    assert (changed.description, changed.dense_weight) == ("Para todos", 0.0)  # the mask names one of them
    read = (await bench.call("GetCollection", pb.GetCollectionRequest(collection_id="manual"))).collection
    assert read == changed
    assert not (await change(bench, "dense_weight")).HasField("dense_weight")


async def test_what_the_indexes_are_made_for_does_not_change(bench: Bench):
    failure = await refused(change(bench, "language", language="en"))
    assert failure.detail("BadRequest").field_violations[0].field == "update_mask"
    failure = await refused(change(bench, dense_weight=1.5))
    assert failure.detail("BadRequest").field_violations[0].field == "collection.dense_weight"


async def test_collections_and_documents_are_listed_in_pages(bench: Bench):
    for name in ("c", "a", "b"):
        await bench.collection(name)
    names, token = [], ""
    while True:
        page = await bench.call("ListCollections", pb.ListCollectionsRequest(page_size=3, page_token=token))
        names.append([c.collection_id for c in page.collections])
        token = page.next_page_token
        if not token:
            break
    assert names == [["a", "b", "c"], ["manual"]]
    for name in ("y", "x", "z"):
        await bench.ingested("uno", name)
    request = pb.ListDocumentsRequest(collection_id="manual", page_size=2)
    first = await bench.call("ListDocuments", request)
    request.page_token = first.next_page_token
    second = await bench.call("ListDocuments", request)
    assert [[d.document_id for d in page.documents] for page in (first, second)] == [["x", "y"], ["z"]]
    assert not second.next_page_token


async def test_a_page_of_documents_is_no_larger_than_a_message_may_be(bench: Bench, store):
    await bench.ingested("uno", "d-000")
    rows = store.rows("acme", "documents")
    (row,) = [row async for row in rows.find({"document_id": "d-000"}, order=[("_id", 1)])]
    row["metadata"] = {**row["metadata"], "metadata": {"nota": "n" * 15_000}}
    names = [f"d-{i:03}" for i in range(1, 400)]
    await rows.insert_missing([{**row, "_id": f"{row['_id']}-{name}", "document_id": name} for name in names])
    listed: list[str] = []
    request = pb.ListDocumentsRequest(collection_id="manual", page_size=1000)
    while True:
        page = await bench.call("ListDocuments", request)
        assert page.ByteSize() < 4 * MIB
        listed += [document.document_id for document in page.documents]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == ["d-000", *names]


async def test_a_foreign_page_token_is_refused(bench: Bench):
    for name, request in (
        ("ListCollections", pb.ListCollectionsRequest(page_token="not mine")),
        ("ListDocuments", pb.ListDocumentsRequest(collection_id="manual", page_token="not mine")),
    ):
        failure = await refused(bench.call(name, request))
        assert failure.detail("BadRequest").field_violations[0].field == "page_token"


async def test_tenants_do_not_see_each_other(bench: Bench):
    job = await bench.ingested("uno\ndos", "doc")
    assert (await refused(bench.document(tenant="rival"))).reason == "COLLECTION_NOT_FOUND"
    assert (await refused(bench.call("GetJob", pb.GetJobRequest(job_id=job.job_id), "rival"))).reason == "JOB_NOT_FOUND"
    assert not (await bench.call("ListCollections", pb.ListCollectionsRequest(), "rival")).collections
    await bench.collection(tenant="rival")
    assert not (await bench.call("ListDocuments", pb.ListDocumentsRequest(collection_id="manual"), "rival")).documents
    assert (await refused(bench.document(tenant="rival"))).reason == "DOCUMENT_NOT_FOUND"
    await bench.call("DeleteCollection", pb.DeleteCollectionRequest(collection_id="manual"), "rival")
    assert (await bench.document()).state == pb.Document.READY


async def test_the_internal_call_answers_in_the_envelope(bench: Bench):
    request = pb.CreateDocumentRequest(collection_id="manual", text="uno")
    response = await bench.internal.InternalIngest(request, metadata=metadata(), timeout=10)
    assert response.success
    assert response.data.document.document_id.startswith("text-")
    assert (await bench.ended(response.data.job_id)).state == pb.Job.SUCCEEDED
