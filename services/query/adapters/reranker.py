"""Scores from the embedding server's cross-encoder, through the mesh."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.channel import call_options
from common.context import Context
from common.models import TokenUsage
from common.protobuf import from_message
from common.status import from_rpc_error

_TIMEOUT_S = 10.0


class MeshReranker:
    """malla.embedding.v1.InternalEmbeddingService.InternalRerank."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.InternalEmbeddingServiceStub(channel)

    async def rerank(self, query: str, texts: Sequence[str], ctx: Context) -> Sequence[float]:
        """Returns one score a text, the higher the better. Raises MallaError where the embedding server cannot."""
        request = pb.InternalRerankRequest(query=query, texts=texts)
        try:
            response = await self._stub.InternalRerank(request, **call_options(ctx, most_s=_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "embedding server") from error
        ctx.add_usage("reranking", from_message(TokenUsage, response.data.usage))
        return list(response.data.scores)
