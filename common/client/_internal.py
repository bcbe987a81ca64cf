"""The client of the internal services: standard envelopes, failures included where asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc
from malla.query.v1 import index_pb2, index_pb2_grpc, query_pb2, query_pb2_grpc

from common.channel import call_options, open_channel
from common.client._caller import DEADLINE_S, DEPENDENCY, keyed
from common.client._options import QueryOptions, SearchOptions, request_of
from common.context import Context
from common.models import (
    DocumentUploadMetadata,
    EmbeddingKind,
    EmbeddingPriority,
    InternalEmbeddingResponse,
    InternalIndexResponse,
    InternalIngestionResponse,
    InternalQueryResponse,
    InternalResponse,
    InternalSearchResponse,
)
from common.mtls import MeshTls
from common.protobuf import from_message
from common.status import error_of, error_response_of, from_rpc_error

R = TypeVar("R", bound=InternalResponse[Any])


class InternalClient:
    """Calls the internal services through the mesh listener, for one tenant.

        async with InternalClient("127.0.0.1:9000", raise_on_error=False) as mesh:
            response = await mesh.internal_search(ctx, "manual", "¿Qué incluye el plan?")
            if not response.success:
                ...response.error.type

    Args:
        address: "host:port" of the mesh listener.
        raise_on_error: False to be given a failure as an envelope with `success=False`, `error` and no `data`; True to have it
            raised as a MallaError.
        mesh: Who the program is in a mesh that speaks TLS; a server passes `settings.mesh_tls()`.
    """

    def __init__(self, address: str, *, raise_on_error: bool = True, mesh: MeshTls | None = None) -> None:
        self._raise = raise_on_error
        self._channel = open_channel(address, mesh=mesh)
        self._embedding = embedding_pb2_grpc.InternalEmbeddingServiceStub(self._channel)
        self._ingestion = ingestion_pb2_grpc.InternalIngestionServiceStub(self._channel)
        self._index = index_pb2_grpc.InternalIndexServiceStub(self._channel)
        self._query = query_pb2_grpc.InternalQueryServiceStub(self._channel)

    async def internal_embed(
        self,
        ctx: Context,
        texts: Sequence[str],
        *,
        kind: EmbeddingKind = EmbeddingKind.PASSAGE,
        priority: EmbeddingPriority = EmbeddingPriority.BULK,
        model: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> InternalEmbeddingResponse:
        """Embeds texts into packed vectors: `data.vectors` is (texts, dimensions) little-endian float32, row-major."""
        row = {"texts": texts, "kind": kind, "priority": priority, "model": model}
        request = request_of(embedding_pb2.InternalEmbedRequest, row)
        return await self._call(InternalEmbeddingResponse, self._embedding.InternalEmbed, request, ctx, timeout_s)

    async def internal_search(
        self, ctx: Context, collection_id: str, query: str, *, timeout_s: float = DEADLINE_S, **options: Unpack[SearchOptions]
    ) -> InternalSearchResponse:
        """Finds the passages that fit a query, best first."""
        request = request_of(query_pb2.SearchRequest, {"collection_id": collection_id, "query": query, **options})
        request.request_id = keyed(request.request_id)
        return await self._call(InternalSearchResponse, self._query.InternalSearch, request, ctx, timeout_s)

    async def internal_query(
        self, ctx: Context, collection_id: str, query: str, *, timeout_s: float = DEADLINE_S, **options: Unpack[QueryOptions]
    ) -> InternalQueryResponse:
        """Answers a question from a collection, with citations."""
        request = request_of(query_pb2.QueryRequest, {"collection_id": collection_id, "query": query, **options})
        return await self._call(InternalQueryResponse, self._query.InternalQuery, request, ctx, timeout_s)

    async def check_indexes(
        self, ctx: Context, collection_id: str = "", *, report_only: bool = False, timeout_s: float = DEADLINE_S
    ) -> InternalIndexResponse:
        """Compares indexes of one query server with the record and mends them; without an identifier all of the tenant's."""
        request = index_pb2.CheckIndexesRequest(collection_id=collection_id, report_only=report_only)
        return await self._call(InternalIndexResponse, self._index.CheckIndexes, request, ctx, timeout_s)

    async def internal_ingest(
        self,
        ctx: Context,
        collection_id: str,
        text: str,
        *,
        document_id: str = "",
        metadata: DocumentUploadMetadata | None = None,
        request_id: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> InternalIngestionResponse:
        """Stores a text as a document; it is searchable once the returned job has succeeded."""
        row = {
            "collection_id": collection_id,
            "text": text,
            "document_id": document_id,
            "metadata": metadata or DocumentUploadMetadata(),
            "request_id": request_id,
        }
        request = request_of(ingestion_pb2.CreateDocumentRequest, row)
        return await self._call(InternalIngestionResponse, self._ingestion.InternalIngest, request, ctx, timeout_s)

    async def _call(
        self, model: type[R], method: Callable[..., Awaitable[Message]], request: Message, ctx: Context, timeout_s: float
    ) -> R:
        try:
            return from_message(model, await method(request, **call_options(ctx, most_s=timeout_s)))
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error, DEPENDENCY)
            if self._raise:
                raise failure from error
            metadata = {"request_id": ctx.request_id, **error_response_of(error).metadata}
            return model(success=False, message=failure.message, error=error_of(failure), metadata=metadata)

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
