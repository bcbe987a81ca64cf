"""Working on a job: bytes to text, text to chunks, chunks to vectors, and the version made visible."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby

from common.errors import MallaError, NotFoundError, UnreadableDocumentError
from common.models import JobStage, JobState
from common.store import ChangeRecord, ChunkRecord, CollectionRecord
from common.tasks import stop
from services.ingestion.domain.errors import ModelChangedError
from services.ingestion.domain.records import JobRecord, Passage, Vectors, searchable_metadata
from services.ingestion.observing import tried
from services.ingestion.ports import Blobs, Changes, Chunks, Collections, Documents, Embedder, Jobs, Reader
from services.ingestion.usage_ports import Accounts
from services.ingestion.usecases.embedding import EmbedBatch
from services.ingestion.usecases.progress import LeaseLostError, Progress
from services.ingestion.usecases.publish import Publish, Retire

log = logging.getLogger("malla.ingestion")

# Batches that are computed at a time: while one is stored, the next one is.
_BATCHES_AHEAD = 2


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


@dataclass
class _Work:
    """A job whose document is read: what it tells, what is embedded, and with which model it first was."""

    job: JobRecord
    progress: Progress
    title: str
    passages: Sequence[Passage]
    embedded_with: str


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
        progress = Progress(self._a.jobs, job)
        collection = await self._collection(job)
        data = await self._a.blobs.read(job.tenant_id, job.blob_id)
        await progress.note(stage=JobStage.EXTRACT)
        extracted = await progress.during(self._a.reader.extract(data, job.content_type))
        await progress.note(stage=JobStage.CHUNK, warnings=list(extracted.warnings))
        passages = await progress.during(self._a.reader.chunk(extracted))
        if not passages:
            raise UnreadableDocumentError("The document holds no text. A scanned document needs text recognition first.")
        title = job.metadata.title or extracted.title or job.filename or job.document_id
        work = _Work(job, progress, title, passages, job.embedded_with)
        model = collection.model  # as it was last noted; publishing finds out where it has changed since
        while True:
            model = await self._embed(work, model)
            await self._embed_ahead(work, collection, model)
            try:
                return await self._make_visible(work, model)
            except ModelChangedError as changed:
                await progress.write(publishing=False)
                await self._a.chunks.delete_of(job, model)
                collection, model = await self._collection(job), changed.model

    async def _collection(self, job: JobRecord) -> CollectionRecord:
        # As it was lately will do: publishing finds out where its model has changed, and a reindex embeds what is missing.
        collection = await self._a.collections.lately(job.tenant_id, job.collection_id, job.collection_uid)
        if collection is None:
            raise NotFoundError("collection", job.collection_id, "It was deleted while the document waited.")
        return collection

    async def _embed(self, work: _Work, model: str) -> str:
        """Stores the missing vectors of a model, and returns it: where none is given, the one begun with or the server's."""
        job, passages = work.job, work.passages
        metadata = searchable_metadata(job, work.title)
        stored = {} if job.attempts == 1 else await self._a.chunks.ordinals(job)
        model = model or _begun_with(stored)
        missing = [i for i in range(len(passages)) if i not in stored.get(model, ())]
        done = len(passages) - len(missing)
        work.embedded_with = work.embedded_with or _begun_with(stored) or model
        await work.progress.note(
            stage=JobStage.EMBED, chunks_total=len(passages), chunks_done=done, embedded_with=work.embedded_with
        )
        async with aclosing(self._vectors(work, missing, model)) as batches:
            async for ordinals, vectors in batches:
                model = vectors.model
                chunks = [
                    _chunk(job, i, passages[i], row, model, metadata) for i, row in zip(ordinals, vectors.rows, strict=True)
                ]
                await self._a.chunks.add(job, chunks)
                done += len(ordinals)
                work.embedded_with = work.embedded_with or model
                # News of any kind: a job that gets on is not the one that kills its workers.
                await work.progress.note(chunks_done=done, unfinished=0, embedded_with=work.embedded_with)
        return model

    async def _vectors(
        self, work: _Work, missing: Sequence[int], model: str
    ) -> AsyncGenerator[tuple[list[int], Vectors], None]:
        """Yields the vectors of one batch after the other; the next one is computed while one is stored."""
        # The same batches each time, whatever is stored of them already: a batch is what is counted once.
        batches = deque(_batches(missing, self._batch))
        running: deque[tuple[list[int], asyncio.Task[Vectors]]] = deque()
        try:
            while batches or running:
                # Until the model is known, the first batch tells it to the others.
                while batches and len(running) < (_BATCHES_AHEAD if model else 1):
                    first, ordinals = batches.popleft()
                    task = asyncio.create_task(self._batch_of(work, first, ordinals, model))
                    task.add_done_callback(_heard)
                    running.append((ordinals, task))
                ordinals, task = running[0]
                vectors = await work.progress.during(_ended(task))
                running.popleft()
                model = vectors.model
                yield ordinals, vectors
        finally:
            await stop([task for _, task in running])

    async def _batch_of(self, work: _Work, first: int, ordinals: Sequence[int], model: str) -> Vectors:
        texts = [embedded_text(work.title, work.passages[i].heading, work.passages[i].text) for i in ordinals]
        return await self._embed_batch(work.job, _batch_name(work, first, model), texts, model)

    async def _embed_ahead(self, work: _Work, collection: CollectionRecord, model: str) -> None:
        """Stores vectors of the model that the collection moves to, too: then documents cannot outrun the move."""
        if not collection.reindex_job:
            return
        moving = await self._a.jobs.get(work.job.tenant_id, collection.reindex_job)
        if moving is None or moving.state.is_final or moving.model == model:
            return
        try:
            await self._embed(work, moving.model)
        except MallaError as error:
            log.info("not embedded for the model to come, which the reindex will do: %s", error.message)

    async def _make_visible(self, work: _Work, model: str) -> None:
        job = work.job
        await work.progress.write(stage=JobStage.PUBLISH, publishing=True, unfinished=0)
        mine = ChangeRecord(
            seq=0, document_id=job.document_id, version=job.version, chunks=len(work.passages), job_id=job.job_id, model=model
        )
        change = await self._publish(job.tenant_id, job.collection_uid, mine, since=job.accepted_at_seq)
        await self._a.documents.apply(job, change)
        await self._a.collections.raise_seq(job.tenant_id, job.collection_uid, change)
        await self._retire(job.tenant_id, job.collection_uid, job.document_id, change.version)
        await work.progress.write(state=JobState.SUCCEEDED, seq=change.seq, error=None)

    async def _leave(self, job: JobRecord) -> None:
        """Removes what was stored after the job was cancelled; whoever cancelled it has removed what was there before."""
        now = await self._a.jobs.get(job.tenant_id, job.job_id)
        if now is not None and now.state is JobState.CANCELLED:
            await self._a.chunks.delete_of(job)


async def _ended(task: asyncio.Task[Vectors]) -> Vectors:
    return await task


def _heard(task: asyncio.Task[Vectors]) -> None:
    if not task.cancelled():
        task.exception()  # one that comes after another one's is nobody's any more


def _batches(missing: Sequence[int], size: int) -> Iterator[tuple[int, list[int]]]:
    """Yields what is missing of each batch of `size` chunks, with the position of the batch's first chunk."""
    for number, ordinals in groupby(missing, key=lambda i: i // size):
        yield number * size, list(ordinals)


def _begun_with(stored: Mapping[str, set[int]]) -> str:
    """Returns the model that most stored chunks have vectors of; empty without any."""
    return max(stored, key=lambda model: len(stored[model]), default="")


def _batch_name(work: _Work, first: int, model: str) -> str:
    name = f"{work.job.version}/{first}"
    return name if work.embedded_with in ("", model) else f"{name}/{model}"


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
