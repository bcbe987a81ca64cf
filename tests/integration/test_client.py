"""The Python client against small servers behind the real server plumbing."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing

import numpy as np
import pytest
from google.api import httpbody_pb2
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2_grpc
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.client import PIECE_BYTES, InternalClient, MallaClient
from common.context import Context, Tier
from common.errors import (
    Code,
    DeadlineError,
    MallaError,
    UnavailableError,
)
from common.models import ChatEvent, DocumentUploadMetadata, EmbeddingKind, JobState, SearchMode
from common.server import GrpcService, serving
from common.settings import ServerSettings
from tests.fakes.small_servers import Embedding, Ingestion, Query

CTX = Context(tenant_id="acme", tier=Tier.PRO, request_id="req-1")


@pytest.fixture
def ingestion():
    return Ingestion()


@pytest.fixture
def query():
    return Query()


@pytest.fixture
async def address(ingestion, query):
    embedding = Embedding()
    add = {
        "malla.ingestion.v1.IngestionService": (ingestion, ingestion_pb2_grpc.add_IngestionServiceServicer_to_server),
        "malla.ingestion.v1.InternalIngestionService": (
            ingestion,
            ingestion_pb2_grpc.add_InternalIngestionServiceServicer_to_server,
        ),
        "malla.query.v1.QueryService": (query, query_pb2_grpc.add_QueryServiceServicer_to_server),
        "malla.query.v1.InternalQueryService": (query, query_pb2_grpc.add_InternalQueryServiceServicer_to_server),
        "malla.embedding.v1.EmbeddingService": (embedding, embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server),
        "malla.embedding.v1.InternalEmbeddingService": (
            embedding,
            embedding_pb2_grpc.add_InternalEmbeddingServiceServicer_to_server,
        ),
    }
    services = [GrpcService(name, servicer, adder) for name, (servicer, adder) in add.items()]
    async with serving(ServerSettings(port=0, drain_grace_s=0.0), services) as where:
        yield where


@pytest.fixture
async def malla(address):
    async with MallaClient(address, ctx=CTX) as client:
        yield client


async def test_collections(malla, ingestion):
    made = await malla.create_collection("manual", language="es")
    assert (made.collection_id, made.language) == ("manual", "es")
    assert await malla.get_collection("manual") == made
    assert (await malla.update_collection("manual", dense_weight=0.25)).dense_weight == pytest.approx(0.25)
    assert list(ingestion.updated.update_mask.paths) == ["dense_weight"]
    await malla.update_collection("manual", description="nuevo", dense_weight=None)
    assert not ingestion.updated.collection.HasField("dense_weight")
    assert sorted(ingestion.updated.update_mask.paths) == ["dense_weight", "description"]
    assert await malla.update_collection("manual") == made
    with pytest.raises(MallaError) as failure:
        await malla.create_collection("manual")
    assert (failure.value.code, failure.value.reason) == (Code.ALREADY_EXISTS, "COLLECTION_ALREADY_EXISTS")
    assert (await malla.delete_collection("manual")).success


async def test_lists_follow_their_pages(malla):
    for name in "abcde":
        await malla.create_collection(name)
    assert [row.collection_id async for row in malla.list_collections(page_size=2)] == list("abcde")
    assert [row.document_id async for row in malla.list_documents("a")] == ["doc-first", "doc-second"]


async def test_a_failure_carries_what_the_server_said(malla):
    with pytest.raises(MallaError) as failure:
        await malla.get_collection("nope")
    error = failure.value
    assert (error.code, error.reason) == (Code.NOT_FOUND, "COLLECTION_NOT_FOUND")
    assert error.details == {"resource_type": "collection", "resource_id": "nope"}
    assert "Create it." in error.message


async def test_a_broken_rule_is_told_by_field(malla):
    with pytest.raises(MallaError) as failure:
        await malla.create_collection("No Such Name")
    assert failure.value.code is Code.INVALID_ARGUMENT
    assert failure.value.details["violations"][0]["field"] == "collection_id"


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
async def test_a_file_arrives_whole_in_pieces(malla, ingestion, tmp_path, size):
    path = tmp_path / "plan.md"
    path.write_bytes(bytes(index % 251 for index in range(size)))
    metadata = DocumentUploadMetadata(source="es/plan.md", tags=["billing"], metadata={"year": 2026})
    response = await malla.upload_file("manual", path, document_id="es-plan.md", metadata=metadata)
    assert response.job_id == "job-1"
    assert response.document.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    [messages] = ingestion.uploads
    assert len(messages) == max(1, -(-size // PIECE_BYTES))
    first = messages[0]
    assert (first.collection_id, first.filename, first.document_id) == ("manual", "plan.md", "es-plan.md")
    assert first.metadata.metadata["year"] == 2026
    assert all(later.collection_id == "" and later.file != httpbody_pb2.HttpBody() for later in messages[1:])


async def test_bytes_are_uploaded_under_a_name(malla, ingestion):
    await malla.upload_file("manual", b"hola", filename="a.txt")
    assert ingestion.uploads[0][0].file.data == b"hola"


async def test_a_file_that_cannot_be_read_sends_nothing(malla, ingestion, tmp_path):
    with pytest.raises(FileNotFoundError):
        await malla.upload_file("manual", tmp_path / "no.md")
    assert ingestion.uploads == []


async def test_an_upload_that_is_refused_before_its_end(malla, ingestion):
    ingestion.refuses_uploads = True
    with pytest.raises(MallaError) as failure:
        await malla.upload_file("manual", bytes(40 * PIECE_BYTES), filename="a.bin")
    assert failure.value.reason == "UNSUPPORTED_CONTENT"


async def test_documents(malla):
    stored = await malla.ingest_text("manual", "hola", document_id="a", metadata=DocumentUploadMetadata(title="Uno"))
    assert (stored.document.metadata.title, stored.document.bytes) == ("Uno", 4)
    assert (await malla.get_document("manual", "a")).document_id == "a"
    assert (await malla.delete_document("manual", "a")).seq == 9


async def test_a_job_is_watched_to_its_end(malla):
    assert (await malla.get_job("j")).state is JobState.RUNNING
    assert [job.state async for job in malla.watch_job("j")] == [JobState.RUNNING, JobState.SUCCEEDED]
    seen = []
    job = await malla.wait_for_job("j", on_change=seen.append)
    assert (job.state, job.seq) == (JobState.SUCCEEDED, 5)
    assert [row.chunks_done for row in seen] == [1, 0]


async def test_jobs_are_listed_cancelled_and_tried_again(malla):
    listed = [job async for job in malla.list_jobs("manual", state=JobState.FAILED)]
    assert [(job.job_id, job.collection_id, job.state) for job in listed] == [
        ("first", "manual", JobState.FAILED),
        ("second", "manual", JobState.FAILED),
    ]
    assert (await malla.cancel_job("j")).state is JobState.CANCELLED
    assert (await malla.retry_job("j")).state is JobState.PENDING


async def test_waiting_goes_on_when_the_server_is_restarted(malla, ingestion):
    job = await malla.wait_for_job("interrupted", timeout_s=20)
    assert job.state is JobState.SUCCEEDED
    assert ingestion.watches == 2


async def test_waiting_for_a_job_that_is_not_there(malla):
    with pytest.raises(MallaError) as failure:
        await malla.wait_for_job("gone", timeout_s=20)
    assert failure.value.code is Code.NOT_FOUND


async def test_waiting_ends_at_its_deadline(malla):
    with pytest.raises(DeadlineError):
        await malla.wait_for_job("slow", timeout_s=0.2)


async def test_search_and_query_send_their_options(malla, query):
    found = await malla.search("manual", "¿?", k=3, mode=SearchMode.LEXICAL, filter={"tags": "billing"}, min_seq=4)
    assert (found.results[0].document_id, found.seq) == ("a.md", 3)
    answer = await malla.query("manual", "¿?", temperature=0.0, max_tokens=9)
    assert (answer.answer, answer.citations[0].document_id) == ("$499 [1]", "a.md")
    search, asked = query.seen
    assert (search.k, search.mode, search.filter["tags"], search.min_seq) == (3, query_pb2.SearchRequest.LEXICAL, "billing", 4)
    assert asked.HasField("temperature")
    assert (asked.temperature, asked.max_tokens) == (0.0, 9)


async def test_an_option_that_does_not_exist_is_a_mistake(malla):
    with pytest.raises(TypeError, match="kk"):
        await malla.search("manual", "¿?", kk=3)


async def test_an_answer_streams(malla):
    events = [event async for event in malla.stream_query("manual", "¿?")]
    assert [event.sequence for event in events] == [1, 2, 3]
    assert isinstance(events[0], ChatEvent)
    assert (events[1].delta.text, events[2].done.answer) == ("$499", "$499")


async def test_a_failure_in_mid_stream_is_an_event(malla):
    events = [event async for event in malla.stream_query("manual", "break")]
    assert events[-1].error.type == "OVERLOADED"


async def test_leaving_a_stream_cancels_the_answer(malla, query):
    async with aclosing(malla.stream_query("manual", "long")) as events:
        async for event in events:
            if event.delta:
                break
    async with asyncio.timeout(10):
        await query.cancelled.wait()


async def test_embeddings(malla):
    response = await malla.embed(["uno", "dos"], kind=EmbeddingKind.QUERY)
    assert len(response.embeddings) == 2
    assert response.embeddings[0].values == pytest.approx([0.6, 0.8])
    assert response.model == str(embedding_pb2.EmbedRequest.QUERY)


async def test_without_a_tenant_a_call_is_refused(address):
    async with MallaClient(address) as client:
        with pytest.raises(MallaError) as failure:
            await client.get_collection("manual")
    assert failure.value.code is Code.UNAUTHENTICATED


async def test_a_mesh_that_is_not_there():
    async with MallaClient("127.0.0.1:1", "token") as client:
        with pytest.raises(UnavailableError):
            await client.get_collection("manual")


async def test_envelopes_of_success(address):
    async with InternalClient(address) as mesh:
        embedded = await mesh.internal_embed(CTX, ["uno", "dos"])
        assert np.frombuffer(embedded.data.vectors, dtype="<f4").reshape(2, 2) == pytest.approx(np.array([[0.6, 0.8]] * 2))
        assert (embedded.success, embedded.error) == (True, None)
        assert embedded.metadata["request_id"] == "req-1"
        assert (await mesh.internal_query(CTX, "manual", "¿?")).data.answer == "$499 [1]"
        assert (await mesh.internal_ingest(CTX, "manual", "hola")).data.job_id == "job-1"


async def test_a_failure_is_an_envelope_where_asked(address):
    async with InternalClient(address, raise_on_error=False) as mesh:
        response = await mesh.internal_search(CTX, "nope", "¿?")
        assert (response.success, response.data) == (False, None)
        assert (response.error.type, response.error.code) == ("COLLECTION_NOT_FOUND", "NOT_FOUND")
        assert response.error.details["resource_id"] == "nope"
        assert response.message
        assert response.metadata == {"request_id": "req-1", "tier": "pro"}
        full = await mesh.internal_embed(CTX, ["full"])
        assert (full.success, full.error.type, full.error.details["retry_after_ms"]) == (False, "OVERLOADED", 500)


async def test_a_server_that_is_not_there_is_an_envelope_too():
    async with InternalClient("127.0.0.1:1", raise_on_error=False) as mesh:
        response = await mesh.internal_search(CTX, "manual", "¿?")
    assert (response.success, response.error.code) == (False, "UNAVAILABLE")
    assert response.metadata == {"request_id": "req-1"}


async def test_otherwise_a_failure_is_raised(address):
    async with InternalClient(address) as mesh:
        with pytest.raises(MallaError) as failure:
            await mesh.internal_search(CTX, "nope", "¿?")
    assert failure.value.reason == "COLLECTION_NOT_FOUND"


async def test_a_stream_that_ends_before_its_last_event_is_a_failure(malla):
    events = []
    with pytest.raises(UnavailableError, match="not whole"):
        async for event in malla.stream_query("manual", "half"):
            events.append(event)
    assert events[-1].delta.text == "$499"


async def test_a_search_that_the_channel_makes_again_is_billed_once(malla, address, query):
    query.lost_answers = 2
    await malla.search("manual", "¿?")
    assert len({request.request_id for request in query.seen}) == 1
    await malla.search("manual", "¿?")
    await malla.search("manual", "¿?", request_id="own")
    first, _, _, second, own = (request.request_id for request in query.seen)
    assert (bool(first), first != second, own) == (True, True, "own")
    query.seen.clear()
    query.lost_answers = 2
    async with InternalClient(address, raise_on_error=False) as mesh:
        await mesh.internal_search(CTX, "manual", "¿?")
    assert len(query.seen) == 3
    assert len({request.request_id or None for request in query.seen}) == 1
    assert query.seen[0].request_id
