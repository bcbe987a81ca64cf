"""Vectors from the embedding server, through the mesh, at bulk priority."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.channel import call_options
from common.context import Context, Tier
from common.models import CallContext, TokenUsage
from common.protobuf import from_message
from common.status import from_rpc_error
from services.ingestion.domain.errors import ModelNotServedError
from services.ingestion.domain.records import Vectors

_TIMEOUT_S = 120.0
_FLOAT_BYTES = 4


class MeshEmbedder:
    """malla.embedding.v1.InternalEmbeddingService."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.InternalEmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str], context: CallContext, model: str = "") -> Vectors:
        """Returns the vectors of passages, of the embedding server's own model where none is named.

        Raises ModelNotServedError, and MallaError where the embedding server cannot.
        """
        ctx = Context(tenant_id=context.tenant_id, request_id=context.request_id, tier=Tier(context.tier or Tier.FREE))
        kind, priority = pb.EmbedRequest.PASSAGE, pb.InternalEmbedRequest.BULK
        request = pb.InternalEmbedRequest(texts=texts, kind=kind, priority=priority, model=model)
        try:
            response = await self._stub.InternalEmbed(request, **call_options(ctx, most_s=_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error, "embedding server")
            if told.reason == ModelNotServedError.served_reason:
                raise ModelNotServedError(model, context.collection_id, told) from error
            raise told from error
        packed, size = response.data.vectors, response.data.dimensions * _FLOAT_BYTES
        rows = tuple(packed[start : start + size] for start in range(0, len(packed), size))
        return Vectors(rows, response.data.model, from_message(TokenUsage, response.data.usage))
