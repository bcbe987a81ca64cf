"""Converts between the contract and the use case."""

from __future__ import annotations

from malla.common.v1 import usage_pb2
from malla.embedding.v1 import embedding_pb2 as pb

from common.context import Context, with_context
from common.models import EmbeddingKind, EmbeddingPriority
from common.protobuf import to_message
from services.embedding.counting import CountedEmbeds
from services.embedding.reranking import RerankTexts
from services.embedding.usecases import Embeddings, EmbedTexts


class EmbeddingServicer:
    """malla.embedding.v1.EmbeddingService."""

    def __init__(self, embed: CountedEmbeds) -> None:
        self._embed = embed

    @with_context(tenant=True)
    async def Embed(self, request: pb.EmbedRequest, ctx: Context) -> pb.EmbeddingResponse:
        result = await self._embed(request.texts, _kind(request.kind), request.model, request.request_id, ctx)
        return pb.EmbeddingResponse(
            message=f"{len(request.texts)} texts embedded",
            embeddings=[pb.Embedding(values=row) for row in result.vectors],
            dimensions=result.vectors.shape[1],
            model=result.model,
            usage=_usage(result),
        )


class InternalEmbeddingServicer:
    """malla.embedding.v1.InternalEmbeddingService."""

    def __init__(self, embed_texts: EmbedTexts, rerank_texts: RerankTexts) -> None:
        self._embed_texts = embed_texts
        self._rerank_texts = rerank_texts

    @with_context(tenant=True)
    async def InternalRerank(self, request: pb.InternalRerankRequest, ctx: Context) -> pb.InternalRerankResponse:
        result = await self._rerank_texts(request.query, request.texts, ctx)
        data = pb.InternalRerankData(
            scores=result.scores, model=result.model, usage=to_message(result.usage, usage_pb2.TokenUsage)
        )
        return pb.InternalRerankResponse(message=f"{len(request.texts)} texts scored", data=data)

    @with_context(tenant=True)
    async def InternalEmbed(self, request: pb.InternalEmbedRequest, ctx: Context) -> pb.InternalEmbeddingResponse:
        interactive = request.priority == pb.InternalEmbedRequest.INTERACTIVE
        priority = EmbeddingPriority.INTERACTIVE if interactive else EmbeddingPriority.BULK
        result = await self._embed_texts(request.texts, _kind(request.kind), request.model, priority, ctx)
        data = pb.InternalEmbeddingData(
            vectors=result.vectors.astype("<f4").tobytes(),
            dimensions=result.vectors.shape[1],
            model=result.model,
            usage=_usage(result),
            truncated=result.truncated,
        )
        return pb.InternalEmbeddingResponse(data=data)


def _kind(kind: pb.EmbedRequest.Kind) -> EmbeddingKind:
    return EmbeddingKind.QUERY if kind == pb.EmbedRequest.QUERY else EmbeddingKind.PASSAGE


def _usage(result: Embeddings) -> usage_pb2.TokenUsage:
    return to_message(result.usage, usage_pb2.TokenUsage)
