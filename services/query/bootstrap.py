"""Composes the query server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from malla.query.v1 import query_pb2_grpc as rpc

from common.channel import open_channel
from common.server import GrpcService
from common.store import open_store
from services.query.adapters.embedder import CachedEmbedder, MeshEmbedder
from services.query.adapters.extractive import ExtractiveAnswerer
from services.query.adapters.faiss_index import FlatIndex
from services.query.adapters.record import MongoRecord
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.ports import Answerer, Embedder, Record
from services.query.servicer import InternalQueryServicer, QueryServicer
from services.query.settings import QuerySettings
from services.query.usecases.answer import AnswerQuestion
from services.query.usecases.follow import FollowCollections
from services.query.usecases.search import SearchPassages


@asynccontextmanager
async def compose(settings: QuerySettings) -> AsyncIterator[Sequence[GrpcService]]:
    """Opens the record and the mesh, and yields the services."""
    async with (
        open_store(settings) as store,
        open_channel(settings.mesh_address, max_message_bytes=settings.max_message_bytes) as channel,
    ):
        embedder = CachedEmbedder(MeshEmbedder(channel), settings.query_cache_size)
        yield services(settings, MongoRecord(store), embedder, ExtractiveAnswerer(embedder))


def services(settings: QuerySettings, record: Record, embedder: Embedder, answerer: Answerer) -> Sequence[GrpcService]:
    """Returns the services over the given adapters. Tests pass their own."""
    follow = FollowCollections(record, FlatIndex, TantivyIndex, timeout_s=settings.search_timeout_s)
    search = SearchPassages(record, embedder, follow, candidates=settings.search_candidates)
    answer = AnswerQuestion(search, answerer)
    return (
        GrpcService(
            "malla.query.v1.QueryService",
            QueryServicer(search, answer, heartbeat_s=settings.heartbeat_s),
            rpc.add_QueryServiceServicer_to_server,
        ),
        GrpcService(
            "malla.query.v1.InternalQueryService",
            InternalQueryServicer(search, answer),
            rpc.add_InternalQueryServiceServicer_to_server,
        ),
    )
