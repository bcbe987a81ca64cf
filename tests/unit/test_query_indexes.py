"""The two indexes behind a search, and the collection's index over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from common.models import SearchMode
from services.query.adapters import faiss_index, tantivy_index
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.domain.collection_index import CollectionIndex, DocumentUpdate, Search
from services.query.domain.filters import compile_filter
from services.query.ports import Commit, Text
from tests.fakes.engine import vector_of
from tests.fakes.query import DIMENSIONS, MODEL, chunk


def flat(count: int = 5) -> FaissIndex:
    index = FaissIndex(2)
    angles = np.arange(count) * 0.1
    index.stage(range(count), np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), [])()
    return index


NOTHING = np.empty((0, 2), dtype=np.float32)
QUERY = np.array([1, 0], dtype=np.float32)


def test_vectors_come_nearest_first_with_their_inner_product():
    found = flat().search(QUERY, 3, None)
    assert list(found) == [0, 1, 2]
    assert found[0] == pytest.approx(1)


def test_the_filter_comes_before_the_cut_of_vectors():
    assert list(flat().search(QUERY, 2, [4, 3])) == [3, 4]


def test_a_filter_that_matches_nothing_finds_nothing():
    assert flat().search(QUERY, 3, []) == {}


def test_fewer_vectors_than_asked_for():
    assert len(flat(2).search(QUERY, 10, None)) == 2
    assert FaissIndex(2).search(QUERY, 10, None) == {}


def test_removed_vectors_are_gone_and_unknown_keys_passed_over():
    index = flat()
    index.stage([], NOTHING, [0, 99])()
    assert list(index.search(QUERY, 2, None)) == [1, 2]


def clustered(count: int = 6000, dimensions: int = 32) -> np.ndarray:
    """Vectors in a hundred topics near one direction, as embeddings lie."""
    noise = np.random.default_rng(3)
    topics = noise.standard_normal((100, dimensions))
    rows = 3 + topics[noise.integers(0, 100, count)] + 0.7 * noise.standard_normal((count, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def lists() -> FaissIndex:
    rows = clustered()
    index = FaissIndex(rows.shape[1], flat_most=1000)
    index.stage(np.arange(len(rows)), rows, [])()
    assert index.outgrown
    index = index.beside(nullcontext)
    assert not index.outgrown
    return index


def recalled(index: FaissIndex, rows: np.ndarray, keys: np.ndarray, among: np.ndarray | None, k: int = 10) -> float:
    """Returns the share of the exact ten best, of 50 queries, that the index finds among the keys."""
    found = []
    for row in rows[::120]:
        best = keys[np.argsort(-(rows[keys] @ row))[:k]]
        found.append(len(set(best) & set(index.search(row, k, among))) / len(best))
    return float(np.mean(found))


def test_lists_find_what_comparing_all_finds(lists: FaissIndex):
    assert recalled(lists, clustered(), np.arange(6000), None) >= 0.98


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("most", [50_000, 10])
def test_lists_behind_a_filter_find_the_best_of_what_it_lets_through(
    lists: FaissIndex, share: float, most: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(faiss_index, "_COMPARED_MOST", most)
    among = np.flatnonzero(np.random.default_rng(5).random(6000) < share)
    assert recalled(lists, clustered(), among, among) >= 0.98


def test_a_filter_that_leaves_only_what_is_far_still_gives_k(lists: FaissIndex, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faiss_index, "_COMPARED_MOST", 10)
    rows = clustered()
    far = np.argsort(rows @ rows[0])[:1500]
    found = lists.search(rows[0], 10, far)
    best = far[np.argsort(-(rows[far] @ rows[0]))[:10]]
    assert len(found) == 10
    assert found[int(best[0])] == pytest.approx(float(rows[best[0]] @ rows[0]), abs=2e-3)


def test_lists_take_changes(tmp_path: Path):
    rows = clustered(2000)
    index = FaissIndex(rows.shape[1], flat_most=500)
    index.stage(np.arange(1000), rows[:1000], [])()
    index = index.beside(nullcontext)
    index.stage(np.arange(1000, 2000), rows[1000:], np.arange(0, 500))()
    assert len(index) == 1500
    assert recalled(index, rows, np.arange(500, 2000), None) >= 0.98
    index.save(tmp_path / "vectors")
    again = FaissIndex.load(tmp_path / "vectors", flat_most=500)
    assert list(again.search(rows[700], 5, None)) == list(index.search(rows[700], 5, None))
    index.stage([], rows[:0], np.arange(500, 1990))()
    assert index.outgrown
    assert index.beside(nullcontext).search(rows[1995], 3, None) == pytest.approx(index.search(rows[1995], 3, None))


TEXTS = {
    1: "Las facturas se pagan en el banco",
    2: "El módem tiene una luz roja que parpadea",
    3: "Error E-4032 del decodificador Colibrí",
    4: "Cancelaciones y reembolsos de clientes",
}


def stage(index: TantivyIndex, texts: Mapping[int, str], remove: Sequence[int] = ()) -> Commit:
    return index.stage({key: Text(text) for key, text in texts.items()}, remove)


@pytest.fixture
def words() -> TantivyIndex:
    index = TantivyIndex("es")
    stage(index, TEXTS)()
    return index


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("factura", 1),  # the stem of the plural
        ("pagar", 1),
        ("modem", 2),  # typed without its accent
        ("MÓDEM", 2),
        ("mo\u0301dem", 2),  # its accent after the letter, as some systems send it
        ("E-4032", 3),
        ("colibri", 3),
        ("cancelación", 4),
        ("reembolso", 4),
    ],
)
def test_words_are_found_as_people_type_them(words: TantivyIndex, query, key):
    assert next(iter(words.search(query, 3, None)), None) == key


@pytest.mark.parametrize("query", ["zapato", "¿?", "", "AND OR NOT", '"unclosed (', "+-:*^~[]"])
def test_words_that_are_not_there_or_none_find_nothing_and_break_nothing(words: TantivyIndex, query):
    assert words.search(query, 3, None) == {}


def test_the_filter_comes_before_the_cut_of_words():
    index = TantivyIndex("es")
    stage(index, {key: "luz " * (50 - key) for key in range(50)})()
    best = list(index.search("luz", 1, None))
    others = [key for key in range(50) if key not in best]
    assert len(index.search("luz", 1, others)) == 1
    assert index.search("luz", 5, []) == {}


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("most", [10_000, 10], ids=["listed", "left out of more"])
def test_words_behind_a_filter_are_the_best_of_what_it_lets_through(most: int, share: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tantivy_index, "_LISTED_MOST", most)
    noise = np.random.default_rng(4)
    index = TantivyIndex("es")
    stage(index, {key: " ".join(noise.choice(["luz", "roja", "verde", "azul"], 1 + key % 37)) for key in range(2000)})()
    among = np.flatnonzero(noise.random(2000) < share)
    everything = index.search("luz roja", 2000, None)
    for wanted in (among, among[::-1], among[among % 37 == 0]):  # the last are too short to be among the best of all
        best = [score for key, score in everything.items() if key in set(wanted.tolist())][:20]
        found = index.search("luz roja", 20, wanted)
        assert list(found.values()) == pytest.approx(best)
        assert set(found) <= set(wanted.tolist())


def test_rows_come_back_for_the_keys_that_are_there(tmp_path: Path):
    for folder in (None, tmp_path):
        index = TantivyIndex("es", folder)
        index.stage({key: Text("luz", f"row {key}\0".encode()) for key in range(5)}, [])()
        index.stage({9: Text("luz", b"")}, [1])()
        assert index.rows([3, 1, 9, 77]) == {3: b"row 3\0", 9: b""}
        assert index.rows([]) == {}


def test_texts_are_replaced_and_removed(words: TantivyIndex):
    stage(words, {5: "La luz verde"}, [2])()
    assert list(words.search("luz", 5, None)) == [5]
    words.stage({}, [1, 3, 4, 5])()
    assert words.search("luz factura error", 5, None) == {}


def test_many_small_changes_do_not_leave_many_pieces(tmp_path: Path):
    for folder in (None, tmp_path):
        index = TantivyIndex("es", folder)
        for key in range(60):
            stage(index, {key: f"luz {key}"}, [key - 5] if key >= 5 else [])()
            assert sorted(index.search("luz", 10, None)) == list(range(max(0, key - 4), key + 1))
        index._settle()
        assert index._index.searcher().num_segments < 16
        assert sorted(index.search("luz", 10, None)) == list(range(55, 60))


STEMMED = [
    ("es", "Las facturaciones pendientes de la instalación", "instalaciones"),
    ("es", "Se averió el módem", "modem"),
    ("en", "Cancelling the subscriptions", "subscription cancelled"),
    ("pt", "As instalações foram concluídas", "instalação"),
    ("pt", "Não há ligação à internet", "ligacao"),
    ("fr", "Les abonnements résiliés", "abonnement"),
    ("fr", "La réinitialisation a échoué", "echoué reinitialisation"),
    ("de", "Die Rechnungen wurden bezahlt", "Rechnung"),
    ("de", "Störungen der Geräte", "störung"),
    ("it", "Le fatture sono scadute", "fattura"),
    ("it", "La velocità è bassa", "velocita"),
    ("ca", "Les factures del mes", "FACTURES"),  # no stemmer: as written
]


@pytest.mark.parametrize(("language", "text", "query"), STEMMED)
def test_words_are_found_in_the_collections_language(language: str, text: str, query: str):
    index = TantivyIndex(language)
    stage(index, {1: text, 2: "nothing of that"})()
    assert list(index.search(query, 5, None)) == [1]
    index.stage({}, [1])()
    assert index.search(query, 5, None) == {}


def test_a_search_sees_a_change_of_words_only_when_it_is_made(tmp_path: Path):
    for folder in (None, tmp_path):
        index = TantivyIndex("es", folder)
        commit = stage(index, {1: "luz"})
        assert index.search("luz", 5, None) == {}
        commit()
        assert list(index.search("luz", 5, None)) == [1]
        replace = stage(index, {2: "luz"}, [1])
        assert list(index.search("luz", 5, None)) == [1]
        replace()
        assert list(index.search("luz", 5, None)) == [2]


def test_a_language_without_a_stemmer_is_searched_as_written():
    index = TantivyIndex("xx")
    stage(index, {1: "Facturas pendientes"})()
    assert list(index.search("FACTURAS", 5, None)) == [1]
    assert index.search("factura", 5, None) == {}


class Collection:
    """A collection's index and searches in it."""

    def __init__(self) -> None:
        self.index = CollectionIndex("uid", TantivyIndex("es"), FaissIndex)
        self.seq = 0

    def put(self, document_id: str, version: int, *texts: str, **fields) -> None:
        self.seq += 1
        chunks = [chunk(document_id, version, i, text, **fields) for i, text in enumerate(texts)]
        self.index.update([DocumentUpdate(document_id, chunks)], self.seq)

    def search(self, text: str, mode: SearchMode = SearchMode.HYBRID, k: int = 10, model: str = MODEL, **conditions):
        predicate = compile_filter(conditions) if conditions else None
        return self.index.search(Search(text, mode, k, 100, vector_of(text, DIMENSIONS), model, predicate)).candidates

    def found(self, text: str, mode: SearchMode = SearchMode.HYBRID, **more) -> list[str]:
        return [candidate.chunk.chunk_id for candidate in self.search(text, mode, **more)]


MODES = list(SearchMode)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_version_replaces_the_old_one_whole(mode):
    collection = Collection()
    collection.put("doc", 1, "luz roja", "luz verde")
    collection.put("doc", 2, "luz azul")
    assert collection.found("luz", mode) == ["doc:2:0"]
    assert collection.index.seq == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_deleted_document_is_not_found_and_comes_back_when_added_again(mode):
    collection = Collection()
    collection.put("doc", 1, "luz roja")
    collection.put("other", 1, "luz verde")
    collection.put("doc", 2)
    assert collection.found("luz", mode) == ["other:1:0"]
    collection.put("doc", 3, "luz azul")
    assert set(collection.found("luz", mode)) == {"other:1:0", "doc:3:0"}


@pytest.mark.parametrize("mode", MODES)
def test_a_filter_looks_at_all_passages_and_not_only_the_best(mode):
    collection = Collection()
    for i in range(20):
        collection.put(f"doc-{i}", 1, "luz " * (20 - i), metadata={"year": float(i)})
    assert collection.found("luz", mode, k=1, year=19) == ["doc-19:1:0"]
    assert collection.found("luz", mode, year={"gte": 100}) == []
    assert collection.found("luz", mode, document_id="doc-7") == ["doc-7:1:0"]


def test_vectors_of_two_models_are_never_compared():
    collection = Collection()
    collection.put("old", 1, "luz roja", model="older-model")
    collection.put("new", 1, "luz roja")
    assert collection.found("luz roja", SearchMode.DENSE) == ["new:1:0"]
    assert collection.found("luz roja", SearchMode.DENSE, model="older-model") == ["old:1:0"]
    assert collection.found("luz roja", SearchMode.DENSE, model="unheard-of") == []
    assert set(collection.found("luz roja", SearchMode.LEXICAL)) == {"old:1:0", "new:1:0"}


def test_k_is_the_most_and_the_best_come_first():
    collection = Collection()
    collection.put("doc", 1, "luz roja del módem", "factura del mes", "luz")
    assert collection.found("luz roja", k=2)[0] == "doc:1:0"
    assert len(collection.search("luz roja", k=2)) == 2


def test_a_result_tells_where_it_stands():
    collection = Collection()
    fields = {"heading": "Luces", "page": 3, "start_offset": 5, "end_offset": 13, "metadata": {"title": "Módem"}}
    collection.put("doc", 1, "luz roja", **fields)
    [candidate] = collection.search("luz")
    found = candidate.chunk
    assert (found.document_id, found.text, found.page) == ("doc", "luz roja", 3)
    assert (found.start_offset, found.end_offset) == (5, 13)
    assert (found.metadata, found.heading) == ({"title": "Módem"}, "Luces")


def test_titles_and_headings_are_found_by_their_words():
    collection = Collection()
    collection.put("doc", 1, "Parpadea.", heading="Luz roja", metadata={"title": "Decodificador"})
    assert collection.found("decodificador", SearchMode.LEXICAL) == collection.found("roja", SearchMode.LEXICAL) == ["doc:1:0"]


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_collection_has_nothing(mode):
    assert Collection().found("luz", mode) == []
