"""Many files side by side: what fails, what is retried, what is unchanged."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from common.errors import AlreadyExistsError, NotFoundError, OverloadedError, UnauthenticatedError, UnsupportedContentError
from common.models import Collection, Document, DocumentUploadMetadata, DocumentUploadResponse, Error, Job, JobState
from services.cli.files import SourceFile
from services.cli.ingesting import Listener, Outcome, ensure_collection, ingest_files


class FakeClient:
    """Takes what it is told to take."""

    def __init__(self):
        self.failures = {}
        self.duplicates = set()
        self.documents = {}
        self.jobs = {}
        self.uploads = []
        self.open = self.most_open = 0

    async def upload_file(self, collection_id, path, *, filename, document_id, metadata):
        self.uploads.append((collection_id, document_id, metadata.source, filename))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if self.failures.get(document_id):
            raise self.failures[document_id].pop(0)
        duplicate = {"duplicate": True} if document_id in self.duplicates else {}
        return DocumentUploadResponse(success=True, message="OK", job_id=document_id, metadata=duplicate)

    async def get_document(self, collection_id, document_id):
        if document_id not in self.documents:
            raise NotFoundError("document", document_id, "")
        return self.documents[document_id]

    async def wait_for_job(self, job_id, *, timeout_s, on_change):
        job = self.jobs.get(job_id, Job(job_id=job_id, state=JobState.SUCCEEDED, chunks_total=3, chunks_done=3, seq=7))
        on_change(job)
        return job


@pytest.fixture
def client():
    return FakeClient()


def files_of(tmp_path, *names):
    return [SourceFile(tmp_path / name, f"es/{name}", name) for name in names]


async def ingest(client, files, at_once=2, listener=None):
    return await ingest_files(client, "manual", files, at_once=at_once, listener=listener or Listener())


async def test_every_file_is_sent_and_followed(client, tmp_path):
    seen, ended = [], []
    listener = Listener(on_job=lambda file, job: seen.append((file.source, job.chunks_done)), on_result=ended.append)
    results = await ingest(client, files_of(tmp_path, "a.md", "b.md"), listener=listener)
    assert [(row.outcome, row.chunks, row.seq) for row in results] == [(Outcome.INGESTED, 3, 7)] * 2
    assert client.uploads[0] == ("manual", "a.md", "es/a.md", "a.md")
    assert sorted(seen) == [("es/a.md", 3), ("es/b.md", 3)]
    assert len(ended) == 2


async def test_no_more_than_so_many_at_once(client, tmp_path):
    await ingest(client, files_of(tmp_path, *"abcdefgh"), at_once=3)
    assert client.most_open <= 3


async def test_one_failure_leaves_the_others(client, tmp_path):
    client.failures["a"] = [UnsupportedContentError("Not a PDF.", content_type="application/pdf", supported=[])]
    results = await ingest(client, files_of(tmp_path, "a", "b"))
    assert [(row.outcome, row.reason) for row in results] == [(Outcome.FAILED, "Not a PDF."), (Outcome.INGESTED, "")]


async def test_a_failed_job_says_why(client, tmp_path):
    error = Error(type="UNREADABLE_DOCUMENT", code="INVALID_ARGUMENT", details={"message": "It holds no text."})
    client.jobs["a"] = Job(job_id="a", state=JobState.FAILED, error=error)
    client.jobs["b"] = Job(job_id="b", state=JobState.FAILED, error=Error(type="UNREADABLE_DOCUMENT"))
    results = await ingest(client, files_of(tmp_path, "a", "b"))
    assert [row.reason for row in results] == ["It holds no text.", "UNREADABLE_DOCUMENT"]


async def test_the_same_bytes_are_unchanged(client, tmp_path):
    client.duplicates.add("a")
    [result] = await ingest(client, files_of(tmp_path, "a"))
    assert result.outcome is Outcome.UNCHANGED


async def test_a_full_queue_is_waited_for(client, tmp_path):
    client.failures["a"] = [OverloadedError("upload", retry_after_s=0.001)] * 3
    [result] = await ingest(client, files_of(tmp_path, "a"))
    assert result.outcome is Outcome.INGESTED
    assert len(client.uploads) == 4


async def test_a_bad_token_ends_it_at_once(client, tmp_path):
    client.failures["a"] = [UnauthenticatedError()]
    with pytest.raises(UnauthenticatedError):
        await ingest(client, files_of(tmp_path, "a"))


class Collections:
    """One collection, or none, or one that appears meanwhile."""

    def __init__(self, there, appears=False):
        self.there, self.appears, self.created = there, appears, []

    async def get_collection(self, collection_id):
        if not self.there:
            raise NotFoundError("collection", collection_id, "Create it.")
        return Collection(collection_id=collection_id)

    async def create_collection(self, collection_id, *, language):
        if self.appears:
            raise AlreadyExistsError("collection", collection_id)
        self.created.append((collection_id, language))


@pytest.mark.parametrize(
    ("there", "appears", "created"), [(True, False, []), (False, False, [("manual", "es")]), (False, True, [])]
)
async def test_the_collection_is_created_if_missing(there, appears, created):
    client = Collections(there, appears)
    await ensure_collection(client, "manual", "es")
    assert client.created == created


@pytest.mark.parametrize(
    ("change", "is_sent"),
    [
        ({}, False),
        ({"sha256": "other"}, True),
        ({"error": Error(type="JOB_CANCELLED")}, True),
        ({"metadata": DocumentUploadMetadata(source="elsewhere")}, True),
        ({"metadata": None}, True),
        ({"filename": "old.md"}, True),
    ],
)
async def test_only_what_is_missing_is_sent(client, tmp_path, change, is_sent):
    files = files_of(tmp_path, "a.md")
    files[0].path.write_bytes(b"hola")
    there = Document(
        document_id="a.md",
        filename="a.md",
        job_id="earlier",
        sha256=hashlib.sha256(b"hola").hexdigest(),
        metadata=DocumentUploadMetadata(source="es/a.md", content_type="text/markdown"),
    )
    client.documents["a.md"] = there.model_copy(update=change)
    [result] = await ingest(client, files)
    assert bool(client.uploads) == is_sent
    assert result.outcome is (Outcome.INGESTED if is_sent else Outcome.UNCHANGED)


async def test_a_cancelled_job_is_a_failure(client, tmp_path):
    client.jobs["a.md"] = Job(job_id="a.md", state=JobState.CANCELLED)
    [result] = await ingest(client, files_of(tmp_path, "a.md"))
    assert (result.outcome, "cancelled" in result.reason) == (Outcome.FAILED, True)
