"""Composes the embedding server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.server import GrpcService
from services.embedding.batcher import Batcher, Call
from services.embedding.lanes import Lanes
from services.embedding.ports import Engine
from services.embedding.servicer import EmbeddingServicer, InternalEmbeddingServicer
from services.embedding.settings import EmbeddingSettings
from services.embedding.usecases import EmbedTexts

_log = logging.getLogger(__name__)


@asynccontextmanager
async def compose(settings: EmbeddingSettings, engine: Engine | None = None) -> AsyncIterator[Sequence[GrpcService]]:
    """Yields the services. Tests pass an engine of their own."""
    engine = engine or load_engine(settings)
    lanes: Lanes[Call] = Lanes(
        most_tokens=settings.embedding_queue_tokens,
        batch_tokens=settings.embedding_batch_tokens,
        batch_texts=settings.embedding_batch_texts,
    )
    batcher = Batcher(engine, lanes)
    embed_texts = EmbedTexts(engine, batcher)
    async with batcher.running():
        yield (
            GrpcService(
                "malla.embedding.v1.EmbeddingService",
                EmbeddingServicer(embed_texts),
                rpc.add_EmbeddingServiceServicer_to_server,
            ),
            GrpcService(
                "malla.embedding.v1.InternalEmbeddingService",
                InternalEmbeddingServicer(embed_texts),
                rpc.add_InternalEmbeddingServiceServicer_to_server,
            ),
        )


def load_engine(settings: EmbeddingSettings) -> Engine:
    """Loads the configured engine. Its libraries are imported only when it is the one."""
    if settings.embedding_engine == "sentence-transformers":
        from services.embedding.adapters.sentence_transformer import SentenceTransformerEngine

        return SentenceTransformerEngine(settings.embedding_model)
    return _load_embedded(settings)


def _load_embedded(settings: EmbeddingSettings) -> Engine:
    try:
        from services.embedding.adapters.e5 import load_onnx_engine

        return load_onnx_engine(settings.embedding_cache_dir, settings.embedding_threads)
    except Exception as error:  # noqa: BLE001  # whatever keeps the fast engine from starting, the wheel's own loop still answers
        from services.embedding.adapters.embedded import EmbeddedEngine

        _log.warning(
            "onnxruntime cannot compute embeddings here (%s: %s): the wheel's own loop does, several times slower, as %s",
            type(error).__name__,
            error,
            EmbeddedEngine.model,
        )
        return EmbeddedEngine()
