"""Composes what holds the indexes: in memory, on disk, and agreeing with the record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from malla.query.v1 import index_pb2_grpc

from common.server import GrpcService
from common.tasks import stop
from services.query.adapters.background import LowPriority
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.snapshots import FolderSnapshots
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.index_servicer import InternalIndexServicer
from services.query.observing import observe_indexes
from services.query.ports import Record
from services.query.settings import QuerySettings
from services.query.usecases.check import CheckIndexes
from services.query.usecases.follow import FollowCollections
from services.query.usecases.keep import KeepIndexes, KeepRules


def in_memory(settings: QuerySettings, record: Record) -> FollowCollections:
    """Returns indexes that are made from the record at each start and looked after by nobody: for tests."""
    return FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=settings.search_timeout_s)


@asynccontextmanager
async def kept_indexes(settings: QuerySettings, record: Record) -> AsyncIterator[FollowCollections]:
    """Looks after indexes while the block runs, and writes down at its end what is not written yet."""
    background = LowPriority()
    snapshots = None if settings.index_dir is None else FolderSnapshots(settings.index_dir)
    follow = FollowCollections(
        record,
        FaissIndex,
        TantivyIndex if snapshots is None else snapshots.make_lexical,
        timeout_s=settings.search_timeout_s,
        snapshots=snapshots,
        memory_bytes=settings.index_memory_bytes,
        run=background,
    )
    observe_indexes(follow)
    rules = KeepRules(passages=settings.index_snapshot_passages, age_s=settings.index_snapshot_s)
    keep = KeepIndexes(record, follow, snapshots, rules)
    task = asyncio.create_task(keep.run(), name="keep-indexes")
    try:
        yield follow
    finally:
        await stop([task])
        await follow.close()
        await keep.drain()
        background.close()
        if snapshots is not None:
            snapshots.close()


def index_services(record: Record, follow: FollowCollections) -> Sequence[GrpcService]:
    """Returns the services that look after the indexes."""
    servicer = InternalIndexServicer(CheckIndexes(record, follow))
    add = index_pb2_grpc.add_InternalIndexServiceServicer_to_server
    return (GrpcService("malla.query.v1.InternalIndexService", servicer, add),)
