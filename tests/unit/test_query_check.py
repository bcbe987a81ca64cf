"""Indexes compared with the record, and made anew where they differ."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from common.context import Context
from common.errors import NotFoundError
from common.models import IndexState
from services.query.domain.collection_index import CollectionIndex
from services.query.usecases.check import CheckIndexes
from tests.fakes.indexes import CountingRecord, Server
from tests.fakes.query import chunk

CTX = Context(tenant_id="acme")


class Bench:
    """A server that holds one collection's index, with a snapshot of it."""

    def __init__(self, folder: Path) -> None:
        self.record = CountingRecord()
        self.collection = self.record.create()
        self.record.publish(self.collection, "a", 1, "luz roja", "luz verde")
        self.record.publish(self.collection, "b", 1, "luz azul")
        self.record.publish(self.collection, "empty", 1)
        self.record.delete(self.collection, "never", 1)
        self.server = Server(self.record, folder)
        self.check = CheckIndexes(self.record, self.server.follow)

    @property
    def index(self) -> CollectionIndex:
        [followed] = self.server.follow.resident
        assert followed.index is not None
        return followed.index


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.server.found()
    await bench.server.save()
    yield bench
    await bench.server.stop()


async def test_an_index_that_agrees_is_told_with_its_numbers(bench: Bench):
    before = bench.index
    [check] = await bench.check("", CTX)
    assert (check.collection_id, check.state, check.differences) == ("manual", IndexState.OK, [])
    assert (check.seq, check.documents, check.chunks) == (4, 2, 3)
    assert check.size_bytes == bench.index.size_bytes > 0
    assert bench.index is before


async def test_an_index_that_is_not_in_memory_is_loaded_and_brought_up_to_the_record(bench: Bench):
    bench.server.follow.forget("acme", "manual")
    bench.record.publish(bench.collection, "c", 1, "luz")
    [check] = await bench.check("manual", CTX)
    assert (check.state, check.seq, check.chunks) == (IndexState.OK, 5, 4)


def lost_document(bench: Bench) -> None:
    bench.index._documents.pop("b")


def other_version(bench: Bench) -> None:
    bench.record._changes[bench.collection.uid][1].version = 7
    bench.record._chunks[bench.collection.uid, "b", 7] = [chunk("b", 7, 0, "luz azul")]


def fewer_chunks(bench: Bench) -> None:
    bench.record._changes[bench.collection.uid][0].chunks = 1
    del bench.record._chunks[bench.collection.uid, "a", 1][1]


def unknown_document(bench: Bench) -> None:
    bench.record._changes[bench.collection.uid][1].deleted = True


def lost_vector(bench: Bench) -> None:
    [vectors] = bench.index._vectors.values()
    vectors.stage([], np.empty((0, 64), dtype=np.float32), [0])()


def lost_text(bench: Bench) -> None:
    bench.index.lexical.stage({}, [0])()


def other_chunk(bench: Bench) -> None:
    bench.record._chunks[bench.collection.uid, "b", 1][0].chunk_id = "b:1:x"


def shorter_log(bench: Bench) -> None:
    bench.record._changes[bench.collection.uid].pop()
    bench.collection.seq = 3


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lost_document, "document 'b': version 1 with 1 chunks in the record, none in the index"),
        (other_version, "document 'b': version 7 with 1 chunks in the record, version 1 with 1 in the index"),
        (fewer_chunks, "document 'a': version 1 with 1 chunks in the record, version 1 with 2 in the index"),
        (unknown_document, "document 'b': in the index, not in the record"),
        (lost_vector, "the index holds 2 vectors for 3 chunks"),
        (lost_text, "the index holds 2 texts for 3 chunks"),
        (other_chunk, "the chunks are others"),
        (shorter_log, "the index holds change 4, the record ends with 3"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_difference_is_named_and_the_index_made_anew(bench: Bench, harm, said: str):
    harm(bench)
    [reported] = await bench.check("manual", CTX, report_only=True)
    assert reported.state is IndexState.DIFFERS
    assert any(said in difference for difference in reported.differences)
    [rebuilt] = await bench.check("manual", CTX)
    assert rebuilt.state is IndexState.REBUILT
    assert rebuilt.differences == reported.differences
    [after] = await bench.check("manual", CTX)
    assert (after.state, after.differences) == (IndexState.OK, [])


async def test_a_record_that_disagrees_with_itself_is_said_to_differ_still(bench: Bench):
    bench.record._changes[bench.collection.uid][0].chunks = 5
    [check] = await bench.check("manual", CTX)
    assert check.state is IndexState.DIFFERS
    assert "version 1 with 5 chunks in the record" in check.differences[0]


async def test_differences_are_told_up_to_a_number(bench: Bench):
    bench.record.publish(bench.collection, "many", 1, "luz")
    for i in range(50):
        bench.record.publish(bench.collection, f"doc-{i}", 1, "luz")
    await bench.server.found()
    for i in range(50):
        bench.index._documents.pop(f"doc-{i}")
    [check] = await bench.check("manual", CTX, report_only=True)
    assert len(check.differences) == 20


async def test_all_collections_of_the_tenant_and_no_others(bench: Bench):
    bench.record.create("other")
    bench.record.create("theirs", tenant="rival")
    assert [check.collection_id for check in await bench.check("", CTX)] == ["manual", "other"]
    with pytest.raises(NotFoundError):
        await bench.check("theirs", CTX)
