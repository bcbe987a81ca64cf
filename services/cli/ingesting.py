"""Brings many files in, several side by side, and reports each one's way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.client import MallaClient
from common.errors import Code, MallaError
from common.models import DocumentUploadMetadata, Job, JobState
from services.cli.files import SourceFile

_JOB_TIMEOUT_S = 3600.0
_ATTEMPTS = 8
_MOST_PAUSE_S = 5.0


class Outcome(StrEnum):
    """What became of a file."""

    INGESTED = "ingested"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True)
class FileResult:
    """What became of a file.

    Attributes:
        seq: The change at which it became visible.
        reason: Why it failed; empty otherwise.
        warnings: What of it was not read, and why.
    """

    file: SourceFile
    outcome: Outcome
    chunks: int = 0
    seq: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listener:
    """Told how it goes."""

    on_job: Callable[[SourceFile, Job], None] = lambda _file, _job: None
    on_result: Callable[[FileResult], None] = lambda _result: None


async def ensure_collection(client: MallaClient, collection_id: str, language: str) -> None:
    """Creates the collection unless it is there."""
    try:
        await client.get_collection(collection_id)
    except MallaError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        try:
            await client.create_collection(collection_id, language=language)
        except MallaError as race:
            if race.code is not Code.ALREADY_EXISTS:
                raise


async def ingest_files(
    client: MallaClient, collection_id: str, files: Sequence[SourceFile], *, at_once: int, listener: Listener
) -> list[FileResult]:
    """Uploads files, at most `at_once` side by side, and follows each to the end. Returns the results in the files' order."""
    gate = asyncio.Semaphore(at_once)

    async def one(file: SourceFile) -> FileResult:
        async with gate:
            result = await _ingest(client, collection_id, file, listener)
        listener.on_result(result)
        return result

    return await asyncio.gather(*(one(file) for file in files))


async def _ingest(client: MallaClient, collection_id: str, file: SourceFile, listener: Listener) -> FileResult:
    try:
        sent = await _sent_before(client, collection_id, file)
        job_id, duplicate = (sent, True) if sent else await _upload(client, collection_id, file)
        job = await client.wait_for_job(job_id, timeout_s=_JOB_TIMEOUT_S, on_change=lambda seen: listener.on_job(file, seen))
    except MallaError as error:
        if error.code in {Code.UNAUTHENTICATED, Code.PERMISSION_DENIED}:
            raise  # the next file would fare no better
        return FileResult(file, Outcome.FAILED, reason=error.message)
    except OSError as error:
        return FileResult(file, Outcome.FAILED, reason=f"cannot be read: {error.strerror}")
    if job.state is JobState.CANCELLED:
        return FileResult(file, Outcome.FAILED, reason="its job was cancelled; ingest it again to have it")
    if job.state is JobState.FAILED:
        return FileResult(file, Outcome.FAILED, reason=_why(job))
    outcome = Outcome.UNCHANGED if duplicate else Outcome.INGESTED
    return FileResult(file, outcome, job.chunks_total, job.seq, warnings=tuple(job.warnings))


async def _sent_before(client: MallaClient, collection_id: str, file: SourceFile) -> str:
    """Returns the job of these very bytes if they are there already, so that what broke off goes on where it stopped."""
    try:
        known = await client.get_document(collection_id, file.document_id)
    except MallaError as error:
        if error.code in {Code.UNAUTHENTICATED, Code.PERMISSION_DENIED}:
            raise
        return ""  # not there, or not to be known now: sending it again does no harm
    said = known.metadata or DocumentUploadMetadata()
    if known.error is not None or (said.source, known.filename) != (file.source, file.filename):
        return ""
    return known.job_id if known.sha256 == await asyncio.to_thread(_sha256, file.path) else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _upload(client: MallaClient, collection_id: str, file: SourceFile) -> tuple[str, bool]:
    metadata = DocumentUploadMetadata(source=file.source)
    pause_s = 0.5
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            response = await client.upload_file(
                collection_id, file.path, filename=file.filename, document_id=file.document_id, metadata=metadata
            )
        except MallaError as error:
            # The same bytes again are a no-op, so sending them twice is safe.
            if error.code not in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED} or attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(error.retry_after_s or pause_s)
            pause_s = min(pause_s * 2, _MOST_PAUSE_S)
        else:
            return response.job_id, bool(response.metadata.get("duplicate"))
    raise AssertionError("unreachable")


def _why(job: Job) -> str:
    if job.error is None:
        return "its job failed; the log of the ingestion server says why"
    details = job.error.details
    return str(details.get("message") or details.get("description") or job.error.type)
