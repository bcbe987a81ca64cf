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
from services.ingestion.adapters.collections import MongoCollections
from services.ingestion.adapters.contents import MongoBlobs, MongoChanges, MongoChunks
from services.ingestion.adapters.documents import MongoDocuments
from services.ingestion.adapters.embedder import MeshEmbedder
from services.ingestion.adapters.jobs import MongoJobs
from services.ingestion.adapters.reader import ReadingProcess
from services.ingestion.ports import Embedder, Reader
from services.ingestion.servicer import IngestionServicer, InternalIngestionServicer, UseCases
from services.ingestion.settings import IngestionSettings
from services.ingestion.usecases.collections import ManageCollections
from services.ingestion.usecases.documents import FollowJobs, ManageDocuments
from services.ingestion.usecases.intake import TakeDocument
from services.ingestion.usecases.process import Adapters, ProcessJob
from services.ingestion.usecases.publish import Publish, Retire
from services.ingestion.usecases.work import Worker, WorkRules


@asynccontextmanager
async def compose(settings: IngestionSettings) -> AsyncIterator[Sequence[GrpcService]]:
    """Opens the record, the mesh and the reading process, works on jobs, and yields the services."""
    reader = ReadingProcess(
        timeout_s=settings.extract_timeout_s,
        memory_bytes=settings.extract_memory_bytes,
        chunk_tokens=settings.chunk_tokens,
    )
    try:
        async with (
            open_store(settings) as store,
            open_channel(settings.mesh_address, max_message_bytes=settings.max_message_bytes) as channel,
            working(settings, store, reader, MeshEmbedder(channel)) as services,
        ):
            yield services
    finally:
        reader.close()


@asynccontextmanager
async def working(
    settings: IngestionSettings, store: Store, reader: Reader, embedder: Embedder
) -> AsyncIterator[Sequence[GrpcService]]:
    """Works on jobs while the block runs, and yields the services. Tests pass a reader and an embedder of their own."""
    adapters = Adapters(
        collections=MongoCollections(store),
        documents=MongoDocuments(store),
        jobs=MongoJobs(store),
        chunks=MongoChunks(store),
        blobs=MongoBlobs(store),
        reader=reader,
        embedder=embedder,
    )
    publish = Publish(MongoChanges(store))
    retire = Retire(adapters.chunks, adapters.jobs, adapters.blobs)
    process = ProcessJob(adapters, publish, retire, batch=settings.embed_batch)
    rules = WorkRules(lease_s=settings.lease_s, poll_s=settings.poll_s, max_attempts=settings.max_attempts)
    workers = [Worker(adapters.jobs, adapters.documents, process, rules) for _ in range(settings.ingestion_workers)]
    use = _use_cases(settings, adapters, publish, retire, workers)
    await use.collections.purge_hidden()
    tasks = [asyncio.create_task(worker.run(), name="ingestion-worker") for worker in workers]
    try:
        yield _services(use)
    finally:
        await stop(tasks)


def _use_cases(
    settings: IngestionSettings, adapters: Adapters, publish: Publish, retire: Retire, workers: Sequence[Worker]
) -> UseCases:
    def wake() -> None:
        for worker in workers:
            worker.wake()

    return UseCases(
        collections=ManageCollections(adapters.collections),
        documents=ManageDocuments(adapters.collections, adapters.documents, publish, retire),
        jobs=FollowJobs(adapters.jobs),
        take=TakeDocument(
            adapters.collections,
            adapters.documents,
            adapters.jobs,
            adapters.blobs,
            most_bytes=settings.upload_max_bytes,
            on_job=wake,
        ),
    )


def _services(use: UseCases) -> Sequence[GrpcService]:
    return (
        GrpcService("malla.ingestion.v1.IngestionService", IngestionServicer(use), rpc.add_IngestionServiceServicer_to_server),
        GrpcService(
            "malla.ingestion.v1.InternalIngestionService",
            InternalIngestionServicer(use.take),
            rpc.add_InternalIngestionServiceServicer_to_server,
        ),
    )
