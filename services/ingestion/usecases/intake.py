"""Taking a document in: its bytes and its job are stored before it is acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from common.context import Context
from common.errors import DeadlineError, LimitExceededError
from common.models import CallContext, Document, DocumentUploadMetadata
from common.store import CollectionRecord, now_ms
from common.tasks import finished
from common.telemetry import current_traceparent
from services.ingestion.domain.formats import content_type_of, settled_type
from services.ingestion.domain.identifiers import job_id_of, new_id
from services.ingestion.domain.records import DocumentRecord, JobRecord
from services.ingestion.ports import Blobs, Collections, Documents, Jobs
from services.ingestion.usecases.collections import existing

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """What a caller says about the bytes it sends."""

    collection_id: str
    document_id: str
    filename: str = ""
    metadata: DocumentUploadMetadata = field(default_factory=DocumentUploadMetadata)
    request_id: str = ""


@dataclass(frozen=True)
class Accepted:
    """A document that is stored. `duplicate`: the same bytes were there already, and nothing was done."""

    document: Document
    job_id: str
    duplicate: bool = False


@dataclass(frozen=True)
class _Received:
    blob_id: str
    size: int
    sha256: str
    content_type: str


class TakeDocument:
    """Takes a document in."""

    def __init__(
        self,
        collections: Collections,
        documents: Documents,
        jobs: Jobs,
        blobs: Blobs,
        *,
        most_bytes: int,
        timeout_s: float,
        on_job: Callable[[], None],
    ) -> None:
        self._collections = collections
        self._documents = documents
        self._jobs = jobs
        self._blobs = blobs
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s
        self._on_job = on_job

    async def __call__(self, upload: Upload, pieces: AsyncIterator[bytes], ctx: Context) -> Accepted:
        """Stores the bytes and their job, and returns the acknowledgement.

        An upload that ends early, for whatever reason, leaves nothing behind.

        Raises:
            NotFoundError: The tenant has no such collection.
            UnsupportedContentError: The content type cannot be ingested.
            UnreadableDocumentError: The bytes are empty or not of their type.
            LimitExceededError: The bytes are too many.
            DeadlineError: The bytes came too slowly.
        """
        collection = await existing(self._collections, ctx.tenant_id, upload.collection_id)
        content_type = content_type_of(upload.metadata.content_type, upload.filename)
        repeated = await self._repeated(collection, upload, ctx)
        if repeated is not None:
            return repeated
        received = await self._receive(pieces, content_type, upload.filename, ctx.tenant_id)
        settled = upload.metadata.model_copy(update={"content_type": received.content_type})
        # The bytes are stored: a caller that leaves now must not leave them without their job.
        return await finished(self._accept(collection, replace(upload, metadata=settled), received, ctx))

    async def _accept(self, collection: CollectionRecord, upload: Upload, received: _Received, ctx: Context) -> Accepted:
        # Most documents are new, and then this is all that is asked about them.
        version = await self._documents.first_version(ctx.tenant_id, collection, upload.document_id)
        if version is None:
            known = await self._documents.get(ctx.tenant_id, collection.uid, upload.document_id)
            if known is not None and _is_same(known, upload, received):
                await self._blobs.delete(ctx.tenant_id, received.blob_id)
                return Accepted(known.view(), known.job_id, duplicate=True)
            version = await self._documents.next_version(ctx.tenant_id, collection, upload.document_id)
        return await self._enqueue(collection, upload, received, version, ctx)

    async def _receive(self, pieces: AsyncIterator[bytes], content_type: str, filename: str, tenant_id: str) -> _Received:
        blob_id = new_id("blob")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._store(pieces, content_type, filename, tenant_id, blob_id)
        except TimeoutError as error:
            await self._blobs.delete(tenant_id, blob_id)
            raise DeadlineError("the rest of the upload") from error
        except BaseException:
            # Also when the caller left: the call is cancelled, its leftovers are not.
            await finished(self._blobs.delete(tenant_id, blob_id))
            raise

    async def _store(
        self, pieces: AsyncIterator[bytes], content_type: str, filename: str, tenant_id: str, blob_id: str
    ) -> _Received:
        digest, size, number = hashlib.sha256(), 0, 0
        async for piece in _in_pieces(pieces):
            size += len(piece)
            if size > self._most_bytes:
                raise LimitExceededError(
                    "upload_bytes",
                    allowed=self._most_bytes,
                    actual=size,
                    hint="Split the document, or raise MALLA_UPLOAD_MAX_BYTES.",
                )
            if number == 0:
                content_type = settled_type(content_type, filename, piece)
            digest.update(piece)
            await self._blobs.write(tenant_id, blob_id, number, piece)
            number += 1
        if number == 0:
            settled_type(content_type, filename, b"")
        return _Received(blob_id, size, digest.hexdigest(), content_type)

    async def _repeated(self, collection: CollectionRecord, upload: Upload, ctx: Context) -> Accepted | None:
        if not upload.request_id:
            return None
        job = await self._jobs.get(ctx.tenant_id, job_id_of(collection.uid, upload.request_id))
        return None if job is None else await self._acknowledged(job, duplicate=True)

    async def _enqueue(
        self, collection: CollectionRecord, upload: Upload, received: _Received, version: int, ctx: Context
    ) -> Accepted:
        now = now_ms()
        job = JobRecord(
            _id=job_id_of(collection.uid, upload.request_id),
            tenant_id=ctx.tenant_id,
            collection_uid=collection.uid,
            collection_id=collection.collection_id,
            document_id=upload.document_id,
            version=version,
            blob_id=received.blob_id,
            filename=upload.filename,
            content_type=received.content_type,
            metadata=upload.metadata,
            bytes=received.size,
            sha256=received.sha256,
            accepted_at_seq=collection.seq,
            context=CallContext(
                tenant_id=ctx.tenant_id,
                collection_id=collection.collection_id,
                request_id=ctx.request_id,
                tier=ctx.tier.value,
            ),
            traceparent=current_traceparent(),
            available_at=now,
            created_at=now,
            updated_at=now,
        )
        if not await self._jobs.add(job):
            # The same request, side by side: the other one won.
            await self._blobs.delete(ctx.tenant_id, received.blob_id)
            first = await self._jobs.get(ctx.tenant_id, job.job_id)
            return await self._acknowledged(first or job, duplicate=True)
        await self._blobs.claim(ctx.tenant_id, received.blob_id)
        accepted = await self._acknowledged(job)
        self._on_job()
        return accepted

    async def _acknowledged(self, job: JobRecord, *, duplicate: bool = False) -> Accepted:
        document = await self._documents.register(job)
        shown = document.view() if document else Document(document_id=job.document_id, collection_id=job.collection_id)
        return Accepted(shown, job.job_id, duplicate)


def _is_same(known: DocumentRecord, upload: Upload, received: _Received) -> bool:
    return known.sha256 == received.sha256 and known.metadata == upload.metadata and known.error is None


async def _in_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Joins what arrives into pieces of one size, so that how a client cuts its upload does not decide how it is stored."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= _PIECE_BYTES:
            yield bytes(buffer[:_PIECE_BYTES])
            del buffer[:_PIECE_BYTES]
    if buffer:
        yield bytes(buffer)
