"""What ingestion and the embedding server take is counted once: after crashes, over budget, and without a database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc
from malla.ingestion.v1 import ingestion_pb2

from common.context import Context, Tier
from common.errors import UnavailableError
from common.settings import StoreSettings
from common.store import Store, open_store
from common.tiers import TierLimits, TierSettings
from common.tracking import Accounting, LedgerRow
from services.embedding.bootstrap import compose
from services.embedding.settings import EmbeddingSettings
from tests.fakes.accounting import MemoryAccounting, accounted
from tests.fakes.calls import metadata, refused
from tests.fakes.engine import FakeEngine
from tests.fakes.ingestion import Bench, ingestion, settings_of
from tests.fakes.servers import channel_to
from tests.fakes.waiting import until
from tests.fakes.wire import wire_to

LINES = "\n".join(f"línea {number} del manual" for number in range(5))


async def rows(accounting: Accounting) -> list[LedgerRow]:
    return (await accounting.records(Context(tenant_id="acme"))).records[::-1]


def small(tokens: int) -> TierSettings:
    return TierSettings(_env_file=None, tiers={Tier.FREE: TierLimits(embedding_tokens_per_day=tokens)})


# ------------------------------------------------------------------------------------------------------------------- ingestion


async def test_each_batch_has_its_row(store: Store, store_settings: StoreSettings, tmp_path: Path):
    async with accounted(store, tmp_path) as accounting, ingestion(settings_of(store_settings), store, accounting) as bench:
        await bench.collection()
        job = await bench.ingested(LINES)
        found = await rows(accounting)
        # One batch is computed while the one before is stored, so two may be counted in either order.
        assert sorted(row.idempotency_key for row in found) == [f"{job.job_id}/1/{i}/ingestion_embedding" for i in (0, 2, 4)]
        assert {(row.operation, row.stage, row.token_type) for row in found} == {("batch", "ingestion_embedding", "embedding")}
        assert sum(row.total_tokens for row in found) == sum(
            len(text.split()) for call in bench.embedder.calls for text in call
        )
        await bench.ingested(LINES)
        assert len(await rows(accounting)) == 3, "the same bytes again are no work"


class Forgetful(MemoryAccounting):
    """The server dies after a row is written, before its chunks are."""

    def __init__(self) -> None:
        super().__init__()
        self.deaths = 1

    async def commit(self, *arguments: Any) -> list[LedgerRow]:
        made = await super().commit(*arguments)
        if len(self.rows) == 2 and self.deaths:
            self.deaths -= 1
            raise UnavailableError("database")
        return made


async def test_a_batch_that_is_embedded_again_counts_once(store: Store, store_settings: StoreSettings):
    accounts = Forgetful()
    async with ingestion(settings_of(store_settings), store, accounts) as bench:
        await bench.collection()
        job = await bench.ingested(LINES)
        assert job.attempts == 2
        assert 4 <= len(bench.embedder.calls) <= 5, "the batch twice, and the one after it where it was under way"
        assert sorted(key.split("/")[2] for key in accounts.rows) == ["0", "2", "4"]
        assert accounts.open == []


async def test_part_of_a_batch_is_still_that_batch(store: Store, store_settings: StoreSettings):
    accounts = MemoryAccounting()
    async with ingestion(settings_of(store_settings), store, accounts) as bench:
        await bench.collection()
        bench.embedder.hold()
        accepted = await bench.create(LINES)
        await until(lambda: bench.embedder.calls)
        job = await bench.store.rows("acme", "jobs").find_one({"_id": accepted.job_id})
        assert job is not None
        bench.embedder.failures.append(UnavailableError("embedding server"))
        # As a database leaves it that dies in the middle of a write: one chunk of the two.
        row = {"_id": "x", "collection_uid": job["collection_uid"], "document_id": "doc", "version": 1, "ordinal": 2}
        await bench.store.rows("acme", "chunks").insert({**row, "chunk_id": "doc:1:2", "model": "fake-words"})
        bench.embedder.release()
        await bench.ended(accepted.job_id)
        assert sorted(key.split("/")[2] for key in accounts.rows) == ["0", "2", "4"]
        assert [len(call) for call in bench.embedder.calls] == [2, 2, 1, 1]


async def test_a_failed_batch_keeps_nothing(store: Store, store_settings: StoreSettings):
    accounts = MemoryAccounting()
    async with ingestion(settings_of(store_settings), store, accounts) as bench:
        await bench.collection()
        bench.embedder.failures.append(UnavailableError("embedding server"))
        await bench.ingested(LINES)
        assert len(accounts.rows) == 3
        assert accounts.open == []


async def waiting_job(bench: Bench, job_id: str) -> ingestion_pb2.Job:
    async def told() -> ingestion_pb2.Job | None:
        job = await bench.job(job_id)
        return job if job.state == ingestion_pb2.Job.PENDING and job.error.type else None

    waiting: ingestion_pb2.Job = await until(told)
    return waiting


async def test_a_job_over_budget_waits_with_its_reason_and_loses_nothing(
    store: Store, store_settings: StoreSettings, tmp_path: Path
):
    settings = settings_of(store_settings)
    async with accounted(store, tmp_path, small(45)) as accounting, ingestion(settings, store, accounting) as bench:
        await bench.collection()
        accepted = await bench.create(LINES)
        job = await waiting_job(bench, accepted.job_id)
        assert (job.error.type, job.error.code) == ("BUDGET_EXCEEDED", "RESOURCE_EXHAUSTED")
        assert job.error.details["limit"] == 45
        assert job.error.details["resets_at"]
        found = await rows(accounting)
        # The second batch did not fit; the third, which is small and computed beside it, may have.
        assert [key.split("/")[2] for key in sorted(row.idempotency_key for row in found)] in (["0"], ["0", "4"])
        assert sum(row.total_tokens for row in found) <= 45
    # Somebody raises the budget: the job is not told, it looks.
    await store.all_tenants("jobs").update({"_id": accepted.job_id}, {"$set": {"available_at": 0}})
    async with accounted(store, tmp_path, small(10_000)) as accounting, ingestion(settings, store, accounting) as bench:
        ended = await bench.ended(accepted.job_id)
        assert ended.state == ingestion_pb2.Job.SUCCEEDED
        assert len(await rows(accounting)) == 3


# ------------------------------------------------------------------------------------------------------------- embedding server


@asynccontextmanager
async def embedding(accounts: Any) -> AsyncIterator[rpc.EmbeddingServiceStub]:
    settings = EmbeddingSettings(_env_file=None, port=0, drain_grace_s=1)
    engine = FakeEngine()
    async with compose(settings, engine, accounts=accounts) as services, channel_to(settings, services) as channel:
        yield rpc.EmbeddingServiceStub(channel)


def embed(stub: rpc.EmbeddingServiceStub, *texts: str, tier: str = "free", **fields: Any) -> Any:
    request = pb.EmbedRequest(texts=texts, kind=pb.EmbedRequest.PASSAGE, **fields)
    return stub.Embed(request, metadata=metadata(tier=tier), timeout=20)


async def test_public_vectors_are_counted_once_a_key(store: Store, tmp_path: Path):
    async with accounted(store, tmp_path) as accounting, embedding(accounting) as stub:
        response = await embed(stub, "hola mundo", request_id="k-1")
        await embed(stub, "hola mundo", request_id="k-1")
        (row,) = await rows(accounting)
        assert (row.stage, row.operation, row.total_tokens) == ("embedding", "query", response.usage.total_tokens)
        await embed(stub, "otra cosa", request_id="k-1")
        await embed(stub, "hola mundo")
        assert len(await rows(accounting)) == 3


async def test_vectors_over_budget_are_refused_before_they_are_computed(store: Store, tmp_path: Path):
    async with accounted(store, tmp_path, small(5)) as accounting, embedding(accounting) as stub:
        failure = await refused(embed(stub, "hola mundo"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXCEEDED")
        assert failure.body.error.details["budget"] == "embedding_tokens_per_day"
        assert await rows(accounting) == []


async def test_a_wrong_text_keeps_nothing(store: Store):
    accounts = MemoryAccounting()
    async with embedding(accounts) as stub:
        await refused(embed(stub, "  "))
        assert (accounts.rows, accounts.open) == ({}, [])


async def test_vectors_are_computed_without_a_database_and_counted_later(
    store_settings: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    port = urlsplit(store_settings.mongodb_uri.get_secret_value()).port
    assert port is not None
    async with wire_to(port) as wire:
        wire.cut()
        monkeypatch.setenv("MONGODB_URI", f"mongodb://127.0.0.1:{wire.port}")
        monkeypatch.setenv("MONGODB_DATABASE", store_settings.mongodb_database)
        monkeypatch.setenv("MONGODB_TIMEOUT", "1")
        monkeypatch.setenv("MALLA_OUTBOX_DIR", str(tmp_path / "outbox"))
        monkeypatch.setenv("MALLA_LEDGER_TIMEOUT_S", "0.5")
        async with embedding(None) as stub, open_store(store_settings) as store:
            for tier in ("enterprise", "free"):
                response = await embed(stub, f"hola {tier}", tier=tier)
                assert response.embeddings
            assert response.metadata["budget_checked"].bool_value is False
            assert await store.rows("acme", "usage").count({}) == 0
            wire.mend()

            async def arrived() -> bool:
                return await store.rows("acme", "usage").count({}) == 2

            await until(arrived, 30)
        async with open_store(store_settings) as store:
            assert await store.rows("acme", "usage").count({}) == 2
