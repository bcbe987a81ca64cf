"""Composes the ingestion server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from malla.ingestion.v1 import ingestion_pb2_grpc as rpc

from common.channel import open_channel
from common.server import GrpcService
from common.store import Store, open_store
from common.tasks import stop
from common.tracking import TrackingSettings, open_accounting
from services.ingestion.adapters.collections import MongoCollections
from services.ingestion.adapters.contents import MongoBlobs, MongoChanges, MongoChunks
from services.ingestion.adapters.documents import MongoDocuments
from services.ingestion.adapters.embedder import MeshEmbedder
from services.ingestion.adapters.jobs import MongoJobs
from services.ingestion.adapters.reader import ReadingLimits, ReadingProcesses
from services.ingestion.adapters.recent import RecentBlobs
from services.ingestion.observing import ObservedReader, jobs_observed
from services.ingestion.ports import Embedder, Reader
from services.ingestion.servicer import IngestionServicer, InternalIngestionServicer, UseCases
from services.ingestion.settings import IngestionSettings
from services.ingestion.usage_ports import Accounts
from services.ingestion.usecases.collections import ManageCollections
from services.ingestion.usecases.documents import FollowJobs, ManageDocuments
from services.ingestion.usecases.intake import TakeDocument
from services.ingestion.usecases.jobs import ManageJobs, Release, Sweep
from services.ingestion.usecases.news import JobNews
from services.ingestion.usecases.process import Adapters, ProcessJob
from services.ingestion.usecases.publish import Publish, Retire
from services.ingestion.usecases.queue import JobQueue
from services.ingestion.usecases.reindex import Abandon, ReindexCollection, RequestReindex
from services.ingestion.usecases.work import Worker, WorkRules

# Bytes without a job are removed when they are twice as old as an upload may become: clocks of servers differ.
_SWEEP_AGE = 2


@asynccontextmanager
async def compose(settings: IngestionSettings) -> AsyncIterator[Sequence[GrpcService]]:
    """Opens the record, the mesh and the reading process, works on jobs, and yields the services."""
    limits = ReadingLimits(
        timeout_s=settings.extract_timeout_s,
        memory_bytes=settings.extract_memory_bytes,
        characters=settings.extract_max_characters,
        chunk_tokens=settings.chunk_tokens,
        overlap_tokens=settings.chunk_overlap_tokens,
    )
    reader = ReadingProcesses(limits, settings.ingestion_workers)
    try:
        async with (
            open_store(settings) as store,
            open_channel(
                settings.mesh_address, max_message_bytes=settings.max_message_bytes, mesh=settings.mesh_tls()
            ) as channel,
            open_accounting(TrackingSettings(), store, server="ingestion") as accounting,
            working(settings, store, reader, MeshEmbedder(channel), accounting) as services,
        ):
            yield services
    finally:
        reader.close()


@asynccontextmanager
async def working(
    settings: IngestionSettings, store: Store, reader: Reader, embedder: Embedder, accounts: Accounts
) -> AsyncIterator[Sequence[GrpcService]]:
    """Works on jobs while the block runs, and yields the services. Tests pass a reader and an embedder of their own."""
    news, blobs = JobNews(), RecentBlobs(MongoBlobs(store))
    adapters = Adapters(
        collections=MongoCollections(store),
        changes=MongoChanges(store),
        documents=MongoDocuments(store),
        jobs=MongoJobs(store, on_change=news.tell),
        chunks=MongoChunks(store),
        blobs=blobs,
        reader=ObservedReader(reader),
        embedder=embedder,
        accounts=accounts,
    )
    publish = Publish(adapters.changes)
    retire = Retire(adapters.chunks, adapters.jobs, adapters.blobs)
    process = ProcessJob(adapters, publish, retire, batch=settings.embed_batch)
    abandon = Abandon(adapters.collections, adapters.changes, adapters.chunks)
    reindex = ReindexCollection(adapters, abandon, batch=settings.embed_batch)
    rules = WorkRules(lease_s=settings.lease_s, poll_s=settings.poll_s, max_attempts=settings.max_attempts)
    queue = JobQueue(adapters.jobs, lease_s=settings.lease_s, poll_s=settings.poll_s)
    worker = Worker(queue, adapters.jobs, adapters.documents, process, reindex, rules)
    release = Release(adapters.jobs, adapters.chunks, adapters.blobs, abandon)
    use = _use_cases(settings, adapters, publish, retire, release, queue, news)
    await use.collections.purge_hidden()
    sweep = Sweep(adapters.jobs, adapters.blobs, release, age_s=_SWEEP_AGE * settings.upload_timeout_s)
    tasks = [asyncio.create_task(worker.run(), name="ingestion-worker") for _ in range(settings.ingestion_workers)]
    tasks.append(asyncio.create_task(blobs.run(), name="ingestion-claims"))
    tasks.append(asyncio.create_task(sweep.run(settings.sweep_s), name="ingestion-sweep"))
    try:
        async with jobs_observed(store.all_tenants("jobs")):
            yield _services(use)
    finally:
        await stop(tasks)


def _use_cases(
    settings: IngestionSettings,
    adapters: Adapters,
    publish: Publish,
    retire: Retire,
    release: Release,
    queue: JobQueue,
    news: JobNews,
) -> UseCases:
    return UseCases(
        collections=ManageCollections(adapters.collections),
        documents=ManageDocuments(adapters.collections, adapters.documents, publish, retire),
        jobs=FollowJobs(adapters.jobs, news),
        reindex=RequestReindex(adapters.collections, adapters.jobs, adapters.embedder, on_job=queue.wake),
        manage=ManageJobs(adapters.collections, adapters.documents, adapters.jobs, release, on_job=queue.wake),
        take=TakeDocument(
            adapters.collections,
            adapters.documents,
            adapters.jobs,
            adapters.blobs,
            most_bytes=settings.upload_max_bytes,
            timeout_s=settings.upload_timeout_s,
            on_job=queue.wake,
        ),
    )


def _services(use: UseCases) -> Sequence[GrpcService]:
    return (
        GrpcService(
            "malla.ingestion.v1.IngestionService",
            IngestionServicer(use),
            rpc.add_IngestionServiceServicer_to_server,
            on_drain=use.jobs.drain,
        ),
        GrpcService(
            "malla.ingestion.v1.InternalIngestionService",
            InternalIngestionServicer(use.take),
            rpc.add_InternalIngestionServiceServicer_to_server,
        ),
    )
