"""Composes the embedding server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from malla.embedding.v1 import embedding_pb2_grpc as rpc

from common.server import GrpcService
from common.settings import StoreSettings
from common.store import open_store
from common.tracking import TrackingSettings, open_accounting
from services.embedding.batcher import Batcher, Call
from services.embedding.cache import RememberingBatches, VectorCache
from services.embedding.counting import Accounts, CountedEmbeds
from services.embedding.lanes import Lanes
from services.embedding.observing import observe_lanes
from services.embedding.ports import CrossEncoder, Engine
from services.embedding.reranking import RerankTexts
from services.embedding.servicer import EmbeddingServicer, InternalEmbeddingServicer
from services.embedding.settings import EMBEDDED, EmbeddingSettings
from services.embedding.usecases import EmbedTexts, Served

_log = logging.getLogger(__name__)


@asynccontextmanager
async def compose(
    settings: EmbeddingSettings,
    engine: Engine | None = None,
    cross_encoder: CrossEncoder | None = None,
    accounts: Accounts | None = None,
    others: Sequence[Engine] | None = None,
) -> AsyncIterator[Sequence[GrpcService]]:
    """Yields the services. Tests pass models and a ledger of their own."""
    engines = named(engine or load_engine(settings), load_others(settings) if others is None else others)
    rerank_texts = RerankTexts(cross_encoder or _load_cross_encoder(settings), most_texts=settings.rerank_queue_texts)
    # A queue and a thread for each model: texts that wait for one do not hold up another's.
    lanes: dict[str, Lanes[Call]] = {
        model: Lanes(
            most_tokens=settings.embedding_queue_tokens,
            batch_tokens=settings.embedding_batch_tokens,
            batch_texts=settings.embedding_batch_texts,
        )
        for model in engines
    }
    bulk_s = settings.embedding_bulk_ms / 1000
    batchers = {model: Batcher(engines[model], own, bulk_s=bulk_s) for model, own in lanes.items()}
    observe_lanes(lanes)
    cache = VectorCache(settings.embedding_cache_mb * 1_000_000)
    remembering = {model: RememberingBatches(batcher, cache, model) for model, batcher in batchers.items()}
    embed_texts = EmbedTexts({model: Served(engines[model], batches) for model, batches in remembering.items()})
    async with _accounts(accounts) as counted, rerank_texts.running(), AsyncExitStack() as running:
        for batcher in batchers.values():
            await running.enter_async_context(batcher.running())
        yield (
            GrpcService(
                "malla.embedding.v1.EmbeddingService",
                EmbeddingServicer(CountedEmbeds(embed_texts, counted)),
                rpc.add_EmbeddingServiceServicer_to_server,
            ),
            GrpcService(
                "malla.embedding.v1.InternalEmbeddingService",
                InternalEmbeddingServicer(embed_texts, rerank_texts),
                rpc.add_InternalEmbeddingServiceServicer_to_server,
            ),
        )


@asynccontextmanager
async def _accounts(given: Accounts | None) -> AsyncIterator[Accounts]:
    """Opens the ledger. The database need not be there: usage waits in the outbox, and vectors need no record."""
    if given is not None:
        yield given
        return
    async with (
        open_store(StoreSettings(), wait=False) as store,
        open_accounting(TrackingSettings(), store, server="embedding") as accounting,
    ):
        yield accounting


def _load_cross_encoder(settings: EmbeddingSettings) -> CrossEncoder | None:
    if not settings.rerank_model:
        return None
    from services.embedding.adapters.cross_encoder import SentenceTransformerCrossEncoder

    return SentenceTransformerCrossEncoder(settings.rerank_model)


def load_engine(settings: EmbeddingSettings) -> Engine:
    """Loads the configured engine. Its libraries are imported only when it is the one."""
    if settings.embedding_engine == "sentence-transformers":
        return _load(settings.embedding_model, settings)
    return _load_embedded(settings)


def load_others(settings: EmbeddingSettings) -> list[Engine]:
    """Loads the models that are served beside the configured one."""
    return [_load(model, settings) for model in settings.other_models]


def named(engine: Engine, others: Sequence[Engine]) -> dict[str, Engine]:
    """Returns the engines by the name that calls use, the one for calls that name none first."""
    engines = {engine.model: engine}
    for other in others:
        if other.model in engines:
            raise ValueError(f"two embedding models go by the name '{other.model}'; name one of them: name=folder")
        engines[other.model] = other
    return engines


def _load(model: str, settings: EmbeddingSettings) -> Engine:
    if model == EMBEDDED:
        return _load_embedded(settings)
    from services.embedding.adapters.sentence_transformer import Running
    from services.embedding.adapters.transformer import load_transformer

    name, _, path = model.rpartition("=")
    running = Running(settings.embedding_device, settings.embedding_dtype, settings.embedding_backend)
    return load_transformer(path, name, running, settings.embedding_cache_dir, settings.embedding_threads)


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
