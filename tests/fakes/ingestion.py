"""The ingestion server over a real record, with a reader and an embedder that a test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from malla.ingestion.v1 import ingestion_pb2 as pb
from malla.ingestion.v1 import ingestion_pb2_grpc as rpc

from common.errors import NotFoundError
from common.models import CallContext, TokenUsage
from common.settings import StoreSettings
from common.store import Store
from services.ingestion.bootstrap import working
from services.ingestion.domain.errors import ModelNotServedError
from services.ingestion.domain.records import Extracted, Passage, Vectors
from services.ingestion.settings import IngestionSettings
from tests.fakes.accounting import MemoryAccounting
from tests.fakes.calls import metadata
from tests.fakes.engine import vector_of
from tests.fakes.servers import channel_to

_DIMENSIONS = 16


class FakeReader:
    """A passage a line. `failure` is raised once, by the next extraction."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def extract(self, data: bytes, content_type: str) -> Extracted:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return Extracted(data.decode())

    async def chunk(self, extracted: Extracted) -> list[Passage]:
        lines = [line for line in extracted.text.splitlines() if line.strip()]
        return [Passage(line, "", None, 0, len(line)) for line in lines]


class FakeEmbedder:
    """`failures` are raised by the next calls, one each; `hold()` makes calls wait. The first of `models` is its own."""

    model = "fake-words"

    def __init__(self) -> None:
        self.models = [self.model]
        self.calls: list[list[str]] = []
        self.contexts: list[CallContext] = []
        self.failures: list[Exception] = []
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def embed(self, texts: Sequence[str], context: CallContext, model: str = "") -> Vectors:
        self.calls.append(list(texts))
        self.contexts.append(context)
        await self._open.wait()
        if self.failures:
            raise self.failures.pop(0)
        used = model or self.models[0]
        if used not in self.models:
            raise ModelNotServedError(used, context.collection_id, NotFoundError("model", used, f"Served: {self.models}."))
        tokens = sum(len(text.split()) for text in texts)
        usage = TokenUsage(input_tokens=tokens, total_tokens=tokens, provider="fake", model=used)
        return Vectors(tuple(vector_of(text, _DIMENSIONS).astype("<f4").tobytes() for text in texts), used, usage)


class Bench:
    """A running server and one tenant's calls to it."""

    def __init__(self, channel: grpc.aio.Channel, store: Store, reader: FakeReader, embedder: FakeEmbedder) -> None:
        self.channel = channel
        self.stub = rpc.IngestionServiceStub(channel)
        self.internal = rpc.InternalIngestionServiceStub(channel)
        self.store = store
        self.reader = reader
        self.embedder = embedder

    def call(self, name: str, request: Any, tenant: str = "acme") -> Any:
        return getattr(self.stub, name)(request, metadata=metadata(tenant), timeout=20)

    async def collection(self, collection_id: str = "manual", tenant: str = "acme") -> None:
        await self.call("CreateCollection", pb.CreateCollectionRequest(collection_id=collection_id, language="es"), tenant)

    def create(self, text: str, document_id: str = "doc", *, tenant: str = "acme", collection_id: str = "manual", **more: Any):
        request = pb.CreateDocumentRequest(collection_id=collection_id, text=text, document_id=document_id, **more)
        return self.call("CreateDocument", request, tenant)

    async def document(self, document_id: str = "doc", collection_id: str = "manual", tenant: str = "acme") -> pb.Document:
        request = pb.GetDocumentRequest(collection_id=collection_id, document_id=document_id)
        return (await self.call("GetDocument", request, tenant)).document

    async def job(self, job_id: str) -> pb.Job:
        return (await self.call("GetJob", pb.GetJobRequest(job_id=job_id))).job

    async def ended(self, job_id: str) -> pb.Job:
        """Follows a job to its end."""
        return [response.job async for response in self.call("WatchJob", pb.WatchJobRequest(job_id=job_id))][-1]

    async def ingested(self, text: str, document_id: str = "doc", **more: Any) -> pb.Job:
        """Takes a text in and waits until it is searchable."""
        job = await self.ended((await self.create(text, document_id, **more)).job_id)
        assert job.state == pb.Job.SUCCEEDED
        return job

    async def count(self, name: str, **query: Any) -> int:
        """Counts rows of all tenants."""
        return await self.store.all_tenants(name).count(query)

    async def rows(self, name: str, **query: Any) -> list[dict[str, Any]]:
        return [row async for row in self.store.all_tenants(name).find(query, order=[("_id", 1)])]


def settings_of(store: StoreSettings, **changes: Any) -> IngestionSettings:
    """Quick settings: short polls, small batches."""
    quick = {"poll_s": 0.05, "embed_batch": 2, "port": 0, "drain_grace_s": 1}
    where = {"MONGODB_URI": store.mongodb_uri, "MONGODB_DATABASE": store.mongodb_database}
    return IngestionSettings(_env_file=None, **where, **{**quick, **changes})


@asynccontextmanager
async def ingestion(settings: IngestionSettings, store: Store, accounts: Any = None) -> AsyncIterator[Bench]:
    """Runs the server, with a ledger in memory if none is given."""
    reader, embedder = FakeReader(), FakeEmbedder()
    working_server = working(settings, store, reader, embedder, accounts or MemoryAccounting())
    async with working_server as services, channel_to(settings, services) as channel:
        yield Bench(channel, store, reader, embedder)
