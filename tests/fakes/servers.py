"""Servers under test, on a free port each, and their channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from common.channel import open_channel
from common.server import GrpcService, serving
from common.settings import ServerSettings
from services.embedding.bootstrap import compose
from services.embedding.ports import CrossEncoder
from services.embedding.settings import EmbeddingSettings
from tests.fakes.accounting import MemoryAccounting
from tests.fakes.engine import FakeEngine


@asynccontextmanager
async def channel_to(settings: ServerSettings, services: Sequence[GrpcService]) -> AsyncIterator[grpc.aio.Channel]:
    """Serves, and yields a channel to the server."""
    async with serving(settings, services) as address, open_channel(address) as channel:
        yield channel


@asynccontextmanager
async def embedding_server(
    engine: FakeEngine, cross_encoder: CrossEncoder | None = None, others: Sequence[FakeEngine] = (), **changes: Any
) -> AsyncIterator[str]:
    """The real embedding server over fake engines; yields its address.

    It remembers no vectors unless told to: tests count what it computes.
    """
    settings = EmbeddingSettings(_env_file=None, port=0, drain_grace_s=5, **{"embedding_cache_mb": 0, **changes})
    try:
        async with (
            compose(settings, engine, cross_encoder, MemoryAccounting(), others) as services,
            serving(settings, services) as address,
        ):
            yield address
    finally:
        for one in (engine, *others):
            one.release()
