"""Changing the embedding model of a collection: new vectors beside the old ones, and one change in its log that switches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from common.context import Context
from common.errors import NotFoundError
from common.models import CallContext, Job, JobKind, JobStage, JobState
from common.store import ChangeRecord, ChunkRecord, CollectionRecord, now_ms
from common.telemetry import current_traceparent
from services.ingestion.domain.errors import ModelNotServedError, ReindexBusyError, ReindexWaitsError
from services.ingestion.domain.identifiers import job_id_of
from services.ingestion.domain.records import JobRecord
from services.ingestion.observing import tried
from services.ingestion.ports import Changes, Chunks, Collections, Embedder, Jobs
from services.ingestion.usecases.collections import existing
from services.ingestion.usecases.embedding import EmbedBatch
from services.ingestion.usecases.process import Adapters, embedded_text
from services.ingestion.usecases.progress import LeaseLostError


class RequestReindex:
    """Begins to change the model of a collection."""

    def __init__(self, collections: Collections, jobs: Jobs, embedder: Embedder, *, on_job: Callable[[], None]) -> None:
        self._collections = collections
        self._jobs = jobs
        self._embedder = embedder
        self._on_job = on_job

    async def __call__(self, collection_id: str, model: str, request_id: str, ctx: Context) -> Job:
        """Returns the job. An empty model is the one that the embedding server uses where none is named.

        Raises NotFoundError for an unknown collection or a model not served, ReindexBusyError.
        """
        collection = await existing(self._collections, ctx.tenant_id, collection_id)
        job_id = job_id_of(collection.uid, f"reindex {request_id}" if request_id else "")
        known = await self._jobs.get(ctx.tenant_id, job_id) if request_id else None
        if known is not None:
            return known.view()
        context = CallContext(
            tenant_id=ctx.tenant_id, collection_id=collection_id, request_id=ctx.request_id, tier=ctx.tier.value
        )
        model = await self._served(model, context)
        running = await self._claimed(collection_id, model, job_id, ctx)
        if running is not None:
            return running.view()
        job = JobRecord(
            _id=job_id,
            tenant_id=ctx.tenant_id,
            collection_uid=collection.uid,
            collection_id=collection_id,
            context=context,
            traceparent=current_traceparent(),
            kind=JobKind.REINDEX,
            model=model,
            available_at=now_ms(),
            created_at=now_ms(),
            updated_at=now_ms(),
        )
        await self._jobs.add(job)
        self._on_job()
        return job.view()

    async def _served(self, model: str, context: CallContext) -> str:
        """Returns the name of the model, known to be served. The word it takes is nobody's, and not counted."""
        try:
            return (await self._embedder.embed(["modelo"], context, model)).model
        except ModelNotServedError as error:
            raise error.told from error

    async def _claimed(self, collection_id: str, model: str, job_id: str, ctx: Context) -> JobRecord | None:
        """Makes the job the one that changes the collection; returns the one that already does the same."""
        while True:
            collection = await existing(self._collections, ctx.tenant_id, collection_id)
            holder = await open_holder(self._jobs, collection)
            if holder is not None and holder.model != model:
                raise ReindexBusyError(collection_id, holder.job_id, holder.model)
            if holder is not None:
                return holder
            if await self._collections.claim(ctx.tenant_id, collection.uid, collection.reindex_job, job_id):
                return None


async def open_holder(jobs: Jobs, collection: CollectionRecord) -> JobRecord | None:
    """Returns the job that changes a collection's model now; None where there is none, or it has ended."""
    holder = await jobs.get(collection.tenant_id, collection.reindex_job) if collection.reindex_job else None
    return None if holder is None or holder.state.is_final else holder


class Abandon:
    """Removes what a cancelled reindex stored."""

    def __init__(self, collections: Collections, changes: Changes, chunks: Chunks) -> None:
        self._collections = collections
        self._changes = changes
        self._chunks = chunks

    async def __call__(self, job: JobRecord) -> None:
        """Removes the vectors, unless they are searched, may be a document's first, or are another reindex's by now."""
        collection = await self._collections.get(job.tenant_id, job.collection_id)
        if collection is None or collection.reindex_job != job.job_id:
            return
        last = await self._changes.last(job.tenant_id, job.collection_uid)
        if last is not None and last.model != job.model:
            await self._chunks.delete_model(job.tenant_id, job.collection_uid, job.model)


class ReindexCollection:
    """Computes the vectors of a collection's passages with another model, and switches to them.

    Nothing of the old model is touched before the switch, which is one insert into the change log. It takes the number after
    the last change that was looked at: where a document came between, the insert fails, and that document is done first. A
    document that comes after it must bring vectors of the new model (`Publish`). Every step can be repeated: a job taken over
    from a dead worker computes what is not stored.
    """

    def __init__(self, adapters: Adapters, abandon: Abandon, *, batch: int) -> None:
        self._a = adapters
        self._abandon = abandon
        self._batch = batch
        self._embed_batch = EmbedBatch(adapters.embedder, adapters.accounts)

    @tried
    async def __call__(self, job: JobRecord) -> None:
        """Runs the job to its end. Raises MallaError, LeaseLostError."""
        try:
            await self._work(job)
        except LeaseLostError:
            now = await self._a.jobs.get(job.tenant_id, job.job_id)
            if now is not None and now.state is JobState.CANCELLED:
                await self._abandon(job)
            raise

    async def _work(self, job: JobRecord) -> None:
        await self._claim(job)
        computed: dict[str, int] = {}
        change = await self._switched(job, computed)
        await self._a.collections.raise_seq(job.tenant_id, job.collection_uid, change)
        await self._clean_up(job, computed)
        await self._change(job, state=JobState.SUCCEEDED, seq=change.seq, error=None)

    async def _claim(self, job: JobRecord) -> None:
        """Has the collection to itself: two that change one collection would remove each other's vectors."""
        collection = await self._a.collections.get(job.tenant_id, job.collection_id)
        if collection is None or collection.uid != job.collection_uid:
            raise NotFoundError("collection", job.collection_id, "It was deleted while its model was to be changed.")
        if collection.reindex_job == job.job_id:
            return
        holder = await open_holder(self._a.jobs, collection)
        if holder is not None:
            raise ReindexWaitsError(job.collection_id, holder.job_id, holder.model)
        if not await self._a.collections.claim(job.tenant_id, collection.uid, collection.reindex_job, job.job_id):
            await self._claim(job)

    async def _switched(self, job: JobRecord, computed: dict[str, int]) -> ChangeRecord:
        """Returns the change from which on the new model's vectors are searched."""
        while True:
            log = await self._a.changes.all_of(job.tenant_id, job.collection_uid)
            if log and log[-1].model == job.model:
                return log[-1]  # a worker that died had come so far, or there is nothing to change
            await self._compute(job, visible(log), computed)
            await self._change(job, stage=JobStage.PUBLISH, publishing=True)
            seq = (log[-1].seq if log else 0) + 1
            switch = ChangeRecord(seq=seq, document_id="", version=0, job_id=job.job_id, model=job.model)
            if await self._a.changes.append(job.tenant_id, job.collection_uid, switch):
                return switch

    async def _compute(self, job: JobRecord, documents: Mapping[str, ChangeRecord], computed: dict[str, int]) -> None:
        """Stores the vectors that are missing. `computed` is what is known to be there: versions by document."""
        total = sum(change.chunks for change in documents.values())
        done = sum(change.chunks for name, change in documents.items() if computed.get(name) == change.version)
        await self._change(job, stage=JobStage.EMBED, chunks_total=total, chunks_done=done)
        waiting: list[ChunkRecord] = []
        async for there, missing in self._missing(job, documents, computed):
            waiting += missing
            done += there
            while len(waiting) >= self._batch:
                batch, waiting = waiting[: self._batch], waiting[self._batch :]
                done += await self._store(job, batch, done)
        if waiting:
            await self._store(job, waiting, done)
        computed |= {name: change.version for name, change in documents.items()}

    async def _missing(
        self, job: JobRecord, documents: Mapping[str, ChangeRecord], computed: Mapping[str, int]
    ) -> AsyncIterator[tuple[int, Sequence[ChunkRecord]]]:
        """Yields for each document how many of its vectors are there, and the chunks whose vector is not."""
        for name, change in documents.items():
            if computed.get(name) == change.version:
                continue
            rows = await self._a.chunks.of_version(job.tenant_id, job.collection_uid, name, change.version)
            stored = {row.ordinal for row in rows if row.model == job.model}
            yield len(stored), list({row.ordinal: row for row in rows if row.ordinal not in stored}.values())

    async def _store(self, job: JobRecord, chunks: Sequence[ChunkRecord], done: int) -> int:
        texts = [embedded_text(str(chunk.metadata.get("title", "")), chunk.heading, chunk.text) for chunk in chunks]
        vectors = await self._embed_batch(job, chunks[0].chunk_id, texts, job.model)
        rows = [
            chunk.model_copy(update={"vector": row, "model": job.model})
            for chunk, row in zip(chunks, vectors.rows, strict=True)
        ]
        await self._a.chunks.add(job, rows)
        await self._change(job, chunks_done=done + len(chunks), unfinished=0)
        return len(chunks)

    async def _clean_up(self, job: JobRecord, computed: Mapping[str, int]) -> None:
        await self._a.chunks.delete_other_models(job.tenant_id, job.collection_uid, job.model)
        # Versions that were replaced while they were computed: their replacement removed what was there then.
        log = await self._a.changes.all_of(job.tenant_id, job.collection_uid)
        for change in {change.document_id: change for change in log}.values():
            if change.version > computed.get(change.document_id, change.version):
                await self._a.chunks.delete_before(job.tenant_id, job.collection_uid, change.document_id, change.version)

    async def _change(self, job: JobRecord, **fields: object) -> None:
        if not await self._a.jobs.change(job, **fields, updated_at=now_ms()):
            raise LeaseLostError(job.job_id)


def visible(log: Iterable[ChangeRecord]) -> Mapping[str, ChangeRecord]:
    """Returns the change that made each visible document what it is."""
    last = {change.document_id: change for change in log if not change.switches}
    return {name: change for name, change in last.items() if not change.deleted}
