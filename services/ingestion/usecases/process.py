"""Working on a job: bytes to text, text to chunks, chunks to vectors, and the version made visible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from common.errors import NotFoundError, UnreadableDocumentError
from common.models import JobStage, JobState
from common.store import ChangeRecord, ChunkRecord, now_ms
from services.ingestion.domain.records import Extracted, JobRecord, Passage, searchable_metadata
from services.ingestion.observing import tried
from services.ingestion.ports import Blobs, Chunks, Collections, Documents, Embedder, Jobs, Reader
from services.ingestion.usage_ports import Accounts
from services.ingestion.usecases.embedding import EmbedBatch
from services.ingestion.usecases.publish import Publish, Retire


class LeaseLostError(Exception):
    """Another worker holds the job, or it is gone with its collection. What was written so far does no harm."""


@dataclass(frozen=True)
class Adapters:
    """What a job's work touches."""

    collections: Collections
    documents: Documents
    jobs: Jobs
    chunks: Chunks
    blobs: Blobs
    reader: Reader
    embedder: Embedder
    accounts: Accounts


class ProcessJob:
    """Makes one version of a document searchable, whole or not at all.

    Every step can be repeated: chunks have fixed identifiers and are stored once, the change log takes a version once. A job
    taken over from a dead worker goes on after the last stored batch.
    """

    def __init__(self, adapters: Adapters, publish: Publish, retire: Retire, *, batch: int) -> None:
        self._a = adapters
        self._publish = publish
        self._retire = retire
        self._batch = batch
        self._embed_batch = EmbedBatch(adapters.embedder, adapters.accounts)

    @tried
    async def __call__(self, job: JobRecord) -> None:
        """Runs the job to its end.

        Raises:
            MallaError: The document cannot be ingested, or a dependency cannot be reached; `code` tells which.
            LeaseLostError: The job is no longer ours.
        """
        try:
            await self._work(job)
        except LeaseLostError:
            await self._leave(job)
            raise

    async def _work(self, job: JobRecord) -> None:
        if await self._a.collections.get(job.tenant_id, job.collection_id) is None:
            raise NotFoundError("collection", job.collection_id, "It was deleted while the document waited.")
        await self._a.documents.register(job)
        await self._change(job, stage=JobStage.EXTRACT)
        data = await self._a.blobs.read(job.tenant_id, job.blob_id)
        extracted = await self._a.reader.extract(data, job.content_type)
        await self._change(job, stage=JobStage.CHUNK)
        passages = await self._a.reader.chunk(extracted)
        if not passages:
            raise UnreadableDocumentError("The document holds no text. A scanned document needs text recognition first.")
        await self._embed(job, extracted, passages)
        await self._make_visible(job, len(passages))

    async def _embed(self, job: JobRecord, extracted: Extracted, passages: Sequence[Passage]) -> None:
        title = job.metadata.title or extracted.title or job.filename or job.document_id
        metadata = searchable_metadata(job, title)
        stored = await self._a.chunks.ordinals(job)
        missing = [i for i in range(len(passages)) if i not in stored]
        done = len(passages) - len(missing)
        await self._change(job, stage=JobStage.EMBED, chunks_total=len(passages), chunks_done=done)
        # The same batches each time, whatever is stored of them already: a batch is what is counted once.
        for first, ordinals in _batches(missing, self._batch):
            texts = [_embedded_text(title, passages[i]) for i in ordinals]
            vectors = await self._embed_batch(job, first, texts)
            chunks = [
                _chunk(job, i, passages[i], row, vectors.model, metadata) for i, row in zip(ordinals, vectors.rows, strict=True)
            ]
            await self._a.chunks.add(job, chunks)
            done += len(ordinals)
            # News of any kind: a job that gets on is not the one that kills its workers.
            await self._change(job, chunks_done=done, unfinished=0)

    async def _make_visible(self, job: JobRecord, chunks: int) -> None:
        await self._change(job, stage=JobStage.PUBLISH, publishing=True)
        mine = ChangeRecord(seq=0, document_id=job.document_id, version=job.version, chunks=chunks, job_id=job.job_id)
        change = await self._publish(job.tenant_id, job.collection_uid, mine)
        await self._a.documents.apply(job, change)
        await self._a.collections.raise_seq(job.tenant_id, job.collection_uid, change.seq)
        await self._retire(job.tenant_id, job.collection_uid, job.document_id, change.version)
        await self._change(job, state=JobState.SUCCEEDED, seq=change.seq, error=None)

    async def _leave(self, job: JobRecord) -> None:
        """Removes what was stored after the job was cancelled; whoever cancelled it has removed what was there before."""
        now = await self._a.jobs.get(job.tenant_id, job.job_id)
        if now is not None and now.state is JobState.CANCELLED:
            await self._a.chunks.delete_of(job)

    async def _change(self, job: JobRecord, **fields: object) -> None:
        if not await self._a.jobs.change(job, **fields, updated_at=now_ms()):
            raise LeaseLostError(job.job_id)


def _batches(missing: Sequence[int], size: int) -> Iterator[tuple[int, list[int]]]:
    """Yields what is missing of each batch of `size` chunks, with the position of the batch's first chunk."""
    for number, ordinals in groupby(missing, key=lambda i: i // size):
        yield number * size, list(ordinals)


def _embedded_text(title: str, passage: Passage) -> str:
    # The title and headings say what a passage is about when its own words do not.
    above = [part for part in (title, passage.heading) if part]
    return "\n".join([*above, passage.text])


def _chunk(job: JobRecord, ordinal: int, passage: Passage, row: bytes, model: str, metadata: dict[str, object]) -> ChunkRecord:
    return ChunkRecord(
        chunk_id=f"{job.document_id}:{job.version}:{ordinal}",
        document_id=job.document_id,
        version=job.version,
        ordinal=ordinal,
        text=passage.text,
        heading=passage.heading,
        page=passage.page,
        start_offset=passage.start_offset,
        end_offset=passage.end_offset,
        vector=row,
        model=model,
        metadata=metadata,
    )
