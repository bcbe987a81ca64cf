"""Vectors from the embedding server, through the mesh, at interactive priority; questions are remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import grpc
import numpy as np
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.channel import call_options
from common.context import Context
from common.models import EmbeddingKind, TokenUsage
from common.protobuf import from_message
from common.status import from_rpc_error
from services.query.ports import Vectors

_TIMEOUT_S = 30.0

STAGES = {EmbeddingKind.QUERY: "query_embedding", EmbeddingKind.PASSAGE: "statement_embedding"}
"""What the ledger calls a step that computes vectors: of what is asked, or of what the extractive answerer may quote."""


class MeshEmbedder:
    """malla.embedding.v1.InternalEmbeddingService."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.InternalEmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, ctx: Context, model: str = "") -> Vectors:
        """Returns the texts' vectors of a model, of the embedding server's own where none is named.

        Raises MallaError where the embedding server cannot: of the reason NOT_SERVED where it does not serve the model.
        """
        priority = pb.InternalEmbedRequest.INTERACTIVE
        request = pb.InternalEmbedRequest(texts=texts, kind=kind.value, priority=priority, model=model)
        try:
            response = await self._stub.InternalEmbed(request, **call_options(ctx, most_s=_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "embedding server") from error
        data = response.data
        usage = from_message(TokenUsage, data.usage)
        ctx.add_usage(STAGES[kind], usage)
        rows = np.frombuffer(data.vectors, dtype="<f4").reshape(len(texts), data.dimensions)
        return Vectors(rows, data.model, usage)


class CachedEmbedder:
    """Remembers the vectors of single questions, for each tenant apart; the least recently asked is forgotten first."""

    def __init__(self, embedder: MeshEmbedder, size: int) -> None:
        self._embedder = embedder
        self._size = size
        self._known: OrderedDict[tuple[str, str, str], Vectors] = OrderedDict()

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, ctx: Context, model: str = "") -> Vectors:
        """Returns the texts' vectors. No model reads a remembered question, so it takes no tokens: not for the caller, not in
        the ledger."""
        if kind is not EmbeddingKind.QUERY or len(texts) != 1:
            return await self._embedder.embed(texts, kind, ctx, model)
        key = (ctx.tenant_id, model, texts[0])
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return Vectors(known.rows, known.model, TokenUsage(provider=known.usage.provider, model=known.usage.model))
        made = await self._embedder.embed(texts, kind, ctx, model)
        self._known[key] = made
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return made
