"""Working on a job: bytes to text, text to chunks, chunks to vectors, and the version made visible."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from common.errors import MallaError, NotFoundError, UnreadableDocumentError
from common.models import JobStage, JobState
from common.store import ChangeRecord, ChunkRecord, now_ms
from common.tasks import stop
from services.ingestion.domain.errors import ModelChangedError
from services.ingestion.domain.records import Extracted, JobRecord, Passage, searchable_metadata
from services.ingestion.observing import tried
from services.ingestion.ports import Blobs, Changes, Chunks, Collections, Documents, Embedder, Jobs, Reader
from services.ingestion.usage_ports import Accounts
from services.ingestion.usecases.embedding import EmbedBatch
from services.ingestion.usecases.publish import Publish, Retire

log = logging.getLogger("malla.ingestion")

T = TypeVar("T")

_SHOWN_AFTER_S = 0.25


class LeaseLostError(Exception):
    """Another worker holds the job, or it is gone with its collection. What was written so far does no harm."""


@dataclass(frozen=True)
class Adapters:
    """What a job's work touches."""

    collections: Collections
    changes: Changes
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
        data = await self._a.blobs.read(job.tenant_id, job.blob_id)
        extracted = await self._shown(job, JobStage.EXTRACT, self._a.reader.extract(data, job.content_type))
        passages = await self._shown(job, JobStage.CHUNK, self._a.reader.chunk(extracted))
        if not passages:
            raise UnreadableDocumentError("The document holds no text. A scanned document needs text recognition first.")
        last = await self._a.changes.last(job.tenant_id, job.collection_uid)
        model = "" if last is None else last.model
        while True:
            model = await self._embed(job, extracted, passages, model)
            await self._embed_ahead(job, extracted, passages, model)
            try:
                return await self._make_visible(job, len(passages), model)
            except ModelChangedError as changed:
                await self._change(job, publishing=False)
                await self._a.chunks.delete_of(job, model)
                model = changed.model

    async def _embed(self, job: JobRecord, extracted: Extracted, passages: Sequence[Passage], model: str) -> str:
        """Stores the missing vectors of a model, and returns it: where none is given, the one begun with or the server's."""
        title = job.metadata.title or extracted.title or job.filename or job.document_id
        metadata = searchable_metadata(job, title)
        stored = {} if job.attempts == 1 else await self._a.chunks.ordinals(job)
        model = model or _begun_with(stored)
        missing = [i for i in range(len(passages)) if i not in stored.get(model, ())]
        done = len(passages) - len(missing)
        begun = {"chunks_total": len(passages), "chunks_done": done, "embedded_with": job.embedded_with or model}
        await self._change(job, stage=JobStage.EMBED, **begun)
        # The same batches each time, whatever is stored of them already: a batch is what is counted once.
        for first, ordinals in _batches(missing, self._batch):
            texts = [embedded_text(title, passages[i].heading, passages[i].text) for i in ordinals]
            vectors = await self._embed_batch(job, _batch_name(job, first, model), texts, model)
            model = vectors.model
            chunks = [
                _chunk(job, i, passages[i], row, vectors.model, metadata) for i, row in zip(ordinals, vectors.rows, strict=True)
            ]
            await self._a.chunks.add(job, chunks)
            done += len(ordinals)
            if done == len(passages) and job.embedded_with:
                job.chunks_done = done  # What comes next says so.
            else:
                # News of any kind: a job that gets on is not the one that kills its workers.
                await self._change(job, chunks_done=done, unfinished=0, embedded_with=job.embedded_with or model)
        return model

    async def _embed_ahead(self, job: JobRecord, extracted: Extracted, passages: Sequence[Passage], model: str) -> None:
        """Stores vectors of the model that the collection moves to, too: then documents cannot outrun the move."""
        collection = await self._a.collections.get(job.tenant_id, job.collection_id)
        if collection is None or not collection.reindex_job:
            return
        moving = await self._a.jobs.get(job.tenant_id, collection.reindex_job)
        if moving is None or moving.state.is_final or moving.model == model:
            return
        try:
            await self._embed(job, extracted, passages, moving.model)
        except MallaError as error:
            log.info("not embedded for the model to come, which the reindex will do: %s", error.message)

    async def _make_visible(self, job: JobRecord, chunks: int, model: str) -> None:
        await self._change(job, stage=JobStage.PUBLISH, publishing=True, chunks_done=job.chunks_done, unfinished=0)
        mine = ChangeRecord(
            seq=0, document_id=job.document_id, version=job.version, chunks=chunks, job_id=job.job_id, model=model
        )
        change = await self._publish(job.tenant_id, job.collection_uid, mine)
        await self._a.documents.apply(job, change)
        await self._a.collections.raise_seq(job.tenant_id, job.collection_uid, change)
        await self._retire(job.tenant_id, job.collection_uid, job.document_id, change.version)
        await self._change(job, state=JobState.SUCCEEDED, seq=change.seq, error=None)

    async def _leave(self, job: JobRecord) -> None:
        """Removes what was stored after the job was cancelled; whoever cancelled it has removed what was there before."""
        now = await self._a.jobs.get(job.tenant_id, job.job_id)
        if now is not None and now.state is JobState.CANCELLED:
            await self._a.chunks.delete_of(job)

    async def _shown(self, job: JobRecord, stage: JobStage, step: Coroutine[Any, Any, T]) -> T:
        """Takes a step of the work, and says so where it takes long enough to be seen: for most documents it does not."""
        working = asyncio.create_task(step)
        try:
            done, _ = await asyncio.wait([working], timeout=_SHOWN_AFTER_S)
            if not done:
                await self._change(job, stage=stage)
            return await working
        finally:
            await stop([working])

    async def _change(self, job: JobRecord, **fields: object) -> None:
        if not await self._a.jobs.change(job, **fields, updated_at=now_ms()):
            raise LeaseLostError(job.job_id)


def _batches(missing: Sequence[int], size: int) -> Iterator[tuple[int, list[int]]]:
    """Yields what is missing of each batch of `size` chunks, with the position of the batch's first chunk."""
    for number, ordinals in groupby(missing, key=lambda i: i // size):
        yield number * size, list(ordinals)


def _begun_with(stored: Mapping[str, set[int]]) -> str:
    """Returns the model that most stored chunks have vectors of; empty without any."""
    return max(stored, key=lambda model: len(stored[model]), default="")


def _batch_name(job: JobRecord, first: int, model: str) -> str:
    name = f"{job.version}/{first}"
    return name if job.embedded_with in ("", model) else f"{name}/{model}"


def embedded_text(title: str, heading: str, text: str) -> str:
    """Returns what is embedded of a passage: title and headings say what it is about when its own words do not."""
    return "\n".join([*(part for part in (title, heading) if part), text])


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
