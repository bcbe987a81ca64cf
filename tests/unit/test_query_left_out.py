"""Several collections searched as one, of which one cannot be searched: a visitor is answered from the others."""

from __future__ import annotations

import pytest

from common.context import Context
from common.errors import DeadlineError, NotFoundError, UnavailableError
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.usecases.follow import FollowCollections
from services.query.usecases.search import SearchPassages, SearchSpec
from tests.fakes.query import MemoryRecord, WordEmbedder

SPEC = SearchSpec("", "¿Qué dice la luz roja del módem?", 3)


class Collections(MemoryRecord):
    """A record where some collections cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[str, Exception] = {}

    async def collection(self, tenant_id, collection_id):
        if collection_id in self.broken:
            raise self.broken[collection_id]
        return await super().collection(tenant_id, collection_id)


@pytest.fixture
def record():
    record = Collections()
    for name in ("luces", "router"):
        record.publish(record.create(name), f"{name}-1", 1, "la luz roja del módem avisa")
    return record


@pytest.fixture
def search(record):
    return SearchPassages(record, WordEmbedder(), FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=5))


async def test_a_deleted_collection_is_left_out_and_named(search):
    ctx = Context(tenant_id="acme")
    found = await search.across(["gone", "luces", "lost"], SPEC, "es", ctx)
    assert [result.document_id for result in found.results] == ["luces-1"]
    assert ctx.metrics["not_searched"] == ["gone", "lost"]


async def test_where_none_can_be_searched_the_turn_fails(search):
    for names in (["gone"], ["gone", "lost"]):
        with pytest.raises(NotFoundError, match="'gone'"):
            await search.across(names, SPEC, "es", Context(tenant_id="acme"))


async def test_all_are_searched_where_all_are_well(search):
    ctx = Context(tenant_id="acme")
    [found] = (await search.across(["luces", "router"], SPEC, "es", ctx)).results
    assert (found.document_id, found.also_in) == ("luces-1", ["router-1"])
    assert "not_searched" not in ctx.metrics


@pytest.mark.parametrize("failure", [UnavailableError("database"), DeadlineError("index"), RuntimeError("a bug")])
async def test_what_passes_and_what_is_a_bug_is_not_kept_quiet(search, record, failure):
    record.broken["router"] = failure
    with pytest.raises(type(failure)):
        await search.across(["luces", "router"], SPEC, "es", Context(tenant_id="acme"))
