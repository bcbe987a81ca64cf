"""Several collections searched as one: the best passages of all come first, whatever is the best in each."""

from __future__ import annotations

import pytest

from common.context import Context
from common.models import Explanation, ScorePart, SearchMode, SearchResult
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.domain.merging import Part, merged
from services.query.usecases.follow import FollowCollections
from services.query.usecases.search import Found, SearchPassages, SearchSpec
from tests.fakes.query import MemoryRecord, WordEmbedder

LIGHTS = (
    "la luz roja del módem avisa",
    "una luz roja y fija en el módem",
    "el módem con luz roja parpadea",
    "luz roja y módem caliente",
)
DISHES = ("la paella lleva arroz", "el arroz del guiso se tuesta", "una olla con caldo", "sal y azafrán para la paella")


async def found(collections: list[str], mode: SearchMode = SearchMode.HYBRID, k: int = 3) -> Found:
    record = MemoryRecord()
    for name, texts in (("luces", LIGHTS), ("recetas", DISHES)):
        collection = record.create(name)
        for number, text in enumerate(texts):
            record.publish(collection, f"{name}-{number}", 1, text)
    search = SearchPassages(record, WordEmbedder(), FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=5))
    spec = SearchSpec("", "¿Qué dice la luz roja del módem?", k, mode)
    return await search.across(collections, spec, "es", Context(tenant_id="acme"))


@pytest.mark.parametrize("mode", [SearchMode.HYBRID, SearchMode.DENSE])  # alone, words of two collections say little
@pytest.mark.parametrize("order", [["luces", "recetas"], ["recetas", "luces"]], ids=["first", "last"])
async def test_a_collection_about_something_else_takes_no_places(order: list[str], mode: SearchMode):
    results = (await found(order, mode)).results
    assert len(results) == 3
    assert {result.document_id.partition("-")[0] for result in results} == {"luces"}
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)


async def test_one_collection_is_as_a_search_of_it():
    results = (await found(["luces"])).results
    assert len(results) == 3
    assert results[0].explanation is None


async def test_what_both_hold_is_told_of_both():
    several = await found(["luces", "recetas"], k=8)
    assert len(several.results) == 8
    assert several.usage.total_tokens == 2 * (await found(["luces"])).usage.total_tokens
    assert several.nearest == (await found(["luces"])).nearest


async def test_what_several_collections_hold_is_told_once():
    warning = "La luz roja del módem avisa de que el equipo no encuentra la señal de la central y hay que llamar al técnico hoy"
    fee = "La luz roja cuesta {} pesos al mes en el recibo del módem"
    record = MemoryRecord()
    held = {
        "manual": {"aviso": warning, "luces": LIGHTS[1], "cuota": fee.format(100)},
        "copia": {"aviso": warning, "aviso-2": f"{warning} mismo", "cuota": fee.format(120)},
    }
    for name, texts in held.items():
        collection = record.create(name)
        for document_id, text in texts.items():
            record.publish(collection, document_id, 1, text)
    search = SearchPassages(record, WordEmbedder(), FollowCollections(record, FaissIndex, TantivyIndex, timeout_s=5))
    spec = SearchSpec("", "¿Qué dice la luz roja del módem?", 5)
    results = (await search.across(list(held), spec, "es", Context(tenant_id="acme"))).results
    assert sorted(result.document_id for result in results) == ["aviso", "cuota", "cuota", "luces"]  # two prices: both are told
    [told] = [result for result in results if result.document_id.startswith("aviso")]
    assert told.also_in == ["aviso-2"]


def result(name: str, score: float, dense: float | None, rerank: float | None = None) -> SearchResult:
    parts = [ScorePart(name="dense", score=dense, weight=0.6)]
    return SearchResult(chunk_id=name, text=name, score=score, explanation=Explanation(parts=parts, rerank_score=rerank))


def test_vectors_of_two_models_are_not_compared():
    # The one model's cosines are all higher than the other's.
    high = [result("a", 0.9, 0.86), result("b", 0.2, 0.80)]
    low = [result("c", 0.9, 0.60), result("d", 0.2, 0.10)]
    best = [one.chunk_id for one in merged([Part(high, "e5"), Part(low, "minilm")])]
    assert set(best[:2]) == {"a", "c"}
    assert [one.chunk_id for one in merged([Part(high, "e5"), Part(low, "e5")])] == ["a", "b", "c", "d"]


def test_a_rerankers_scores_are_compared_as_they_are():
    one, other = [result("a", 0.3, 0.9, 0.3)], [result("b", 0.8, 0.1, 0.8)]
    assert [best.chunk_id for best in merged([Part(one, "m"), Part(other, "m")])] == ["b", "a"]
