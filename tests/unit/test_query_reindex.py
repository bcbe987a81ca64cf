"""A collection changes its embedding model: every search answers whole, from vectors of one model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.context import Context
from common.errors import MallaError
from common.models import IndexState, SearchMode
from common.store import CollectionRecord
from services.query.usecases.check import CheckIndexes
from services.query.usecases.search import Found, SearchPassages, SearchSpec
from tests.fakes.indexes import CountingRecord, Server
from tests.fakes.query import MODEL, OTHER_MODEL, WordEmbedder

NEW = OTHER_MODEL
TEXTS = {"luces": "la luz roja", "pagos": "la factura de la luz", "ayuda": "el técnico y la luz"}


class HeldRecord(CountingRecord):
    """Reading chunks of the new model can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()

    async def chunks_of(self, tenant_id, collection_uid, versions, model=""):
        if model == NEW:
            self.reached.set()
            await self.open.wait()
        return await super().chunks_of(tenant_id, collection_uid, versions, model)


class Bench:
    def __init__(self, record: HeldRecord, folder: Path) -> None:
        self.record, self.embedder, self.folder = record, WordEmbedder(), folder
        self.server = Server(record, folder)
        self.collection: CollectionRecord = record.create()
        self.collection.model = MODEL
        for name, text in TEXTS.items():
            record.publish(self.collection, name, 1, text)

    async def search(self, mode: SearchMode = SearchMode.DENSE, min_seq: int = 0, ctx: Context | None = None) -> Found:
        search = SearchPassages(self.record, self.embedder, self.server.follow)
        return await search(SearchSpec("manual", "luz", k=10, mode=mode, min_seq=min_seq), ctx or Context(tenant_id="acme"))

    async def found(self, **how) -> set[str]:
        return {result.document_id for result in (await self.search(**how)).results}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(HeldRecord(), tmp_path)
    yield bench
    await bench.server.stop()


async def test_while_the_new_index_is_made_the_old_one_answers(bench: Bench):
    assert await bench.found() == set(TEXTS)
    bench.record.open.clear()
    bench.record.switch(bench.collection, NEW)
    bench.record.publish(bench.collection, "nuevo", 1, "otra luz", model=NEW)
    old = await bench.search()
    await bench.record.reached.wait()
    assert (old.usage.model, old.seq) == (MODEL, 3)
    assert await bench.found() == set(TEXTS)
    own_write = asyncio.ensure_future(bench.found(min_seq=5))
    assert not (await asyncio.wait({own_write}, timeout=0.1))[0], "it must see the new document"
    bench.record.open.set()
    assert await own_write == {*TEXTS, "nuevo"}
    new = await bench.search()
    assert (new.usage.model, new.seq) == (NEW, 5)
    assert await bench.found() == {*TEXTS, "nuevo"}


async def test_a_snapshot_of_the_old_model_answers_until_the_new_index_is_there(bench: Bench):
    await bench.found()
    await bench.server.save()
    await bench.server.stop()
    bench.record.switch(bench.collection, NEW)
    bench.record.open.clear()
    bench.server = Server(bench.record, bench.folder)
    assert (await bench.search()).usage.model == MODEL
    bench.record.open.set()
    await bench.server.follow.settled(bench.collection)
    assert (await bench.search()).usage.model == NEW
    assert await bench.found() == set(TEXTS)
    await bench.server.save()
    await bench.server.stop()
    bench.server = Server(bench.record, bench.folder)
    bench.record.read.clear()
    assert (await bench.search()).usage.model == NEW
    assert bench.record.read == [], "the snapshot of the new model has it all"


async def test_a_switch_there_and_back_again_ends_with_the_first_model(bench: Bench):
    await bench.found()
    bench.record.open.clear()
    bench.record.switch(bench.collection, NEW)
    await bench.found()
    await bench.record.reached.wait()
    bench.record.switch(bench.collection, MODEL)
    bench.record.open.set()
    await bench.server.follow.settled(bench.collection)
    found = await bench.search()
    assert (found.usage.model, found.seq) == (MODEL, 5)
    assert {result.document_id for result in found.results} == set(TEXTS)


async def test_the_check_compares_the_vectors_of_the_current_model(bench: Bench):
    check = CheckIndexes(bench.record, bench.server.follow)
    await bench.found()
    bench.record.switch(bench.collection, NEW)
    [checked] = await check("manual", Context(tenant_id="acme"))
    assert (checked.state, checked.seq, checked.chunks) == (IndexState.OK, 4, 3)


async def test_without_the_model_words_are_searched_and_the_answer_says_so(bench: Bench):
    bench.embedder.served = ["configured"]
    ctx = Context(tenant_id="acme")
    found = await bench.search(SearchMode.HYBRID, ctx=ctx)
    assert {result.document_id for result in found.results} == set(TEXTS)
    assert ctx.metrics["mode"] == "LEXICAL"
    assert "malla reindex --collection manual" in ctx.metrics["notice"]
    assert f"'{MODEL}'" in ctx.metrics["notice"]


async def test_without_the_model_a_search_by_vectors_alone_is_refused(bench: Bench):
    bench.embedder.served = ["configured"]
    with pytest.raises(MallaError, match="malla reindex --collection manual") as caught:
        await bench.search()
    assert (caught.value.code.value, caught.value.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_SERVED")
