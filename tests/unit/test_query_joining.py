"""Passages that say the same are one, and so are passages that follow each other."""

from __future__ import annotations

import pytest

from common.store import ChunkRecord
from services.query.domain.collection_index import Candidate
from services.query.domain.duplicates import Distinct, distinct
from services.query.domain.explaining import title_words
from services.query.domain.fusion import Fused
from services.query.domain.joining import Joined, join, widen
from tests.fakes.query import chunk

LONG = " ".join(f"palabra{'abcdefghij'[i // 10]}{'abcdefghij'[i % 10]}" for i in range(100))


def candidate(document_id: str, ordinal: int = 0, text: str = "", **fields) -> Candidate:
    text = text or f"{document_id} {ordinal}"
    return Candidate(chunk(document_id, 1, ordinal, text, **fields), Fused(key=0, score=0.5, rank=1, parts=()))


def copies(*texts: str) -> list[tuple[str, list[str]]]:
    found = distinct(candidate(f"doc-{i}", text=text) for i, text in enumerate(texts))
    return [(one.candidate.chunk.document_id, one.also_in) for one in found]


def test_the_same_text_is_found_once_and_names_where_else_it_is():
    assert copies("La luz es roja.", "La factura.", "la  luz es ROJA", "La luz es roja.") == [
        ("doc-0", ["doc-2", "doc-3"]),
        ("doc-1", []),
    ]


def test_a_text_with_a_word_changed_in_a_hundred_is_the_same():
    assert copies(LONG, LONG.replace("palabrafa", "otra")) == [("doc-0", ["doc-1"])]


def test_another_number_makes_another_text():
    assert len(copies(f"{LONG} 349 pesos", f"{LONG} 499 pesos")) == 2


def test_a_short_text_with_a_word_changed_is_another():
    assert len(copies("El plan no incluye llamadas a otros países", "El plan sí incluye llamadas a otros países")) == 2


def test_a_part_of_a_text_is_another():
    assert len(copies(LONG, LONG[: len(LONG) // 2])) == 2


def test_the_shortest_texts_are_copies_only_where_they_are_the_same():
    assert copies("Luz roja", "Modo avión", "luz roja.") == [("doc-0", ["doc-2"]), ("doc-1", [])]


def test_a_document_that_repeats_itself_is_not_named_as_another():
    [only] = distinct([candidate("doc", 0, "La luz es roja."), candidate("doc", 1, "La luz es roja.")])
    assert only.also_in == []


def joined(*candidates: Candidate, k: int = 5) -> list[list[str]]:
    return [[part.chunk_id for part in passage.chunks] for passage in join(map(Distinct, candidates), k)]


def test_neighbours_are_one_passage_in_the_documents_order_and_rank_as_the_best():
    found = joined(candidate("a", 3), candidate("b", 0), candidate("a", 2), candidate("a", 4))
    assert found == [["a:1:2", "a:1:3", "a:1:4"], ["b:1:0"]]


def test_a_chunk_between_two_joins_them():
    assert joined(candidate("a", 1), candidate("a", 3), candidate("a", 2)) == [["a:1:1", "a:1:2", "a:1:3"]]


def test_a_joined_neighbour_leaves_its_place_to_the_next():
    assert joined(candidate("a", 1), candidate("a", 2), candidate("b"), candidate("c"), k=2) == [["a:1:1", "a:1:2"], ["b:1:0"]]


def test_what_comes_after_the_last_place_is_not_taken():
    assert joined(candidate("a", 1), candidate("b"), candidate("a", 2), k=1) == [["a:1:1"]]


def test_three_chunks_are_the_most():
    assert joined(*(candidate("a", i) for i in range(4))) == [["a:1:0", "a:1:1", "a:1:2"], ["a:1:3"]]


@pytest.mark.parametrize(
    "other",
    [candidate("b", 2), candidate("a", 3), candidate("a", 2, heading="Otra sección")],
    ids=["another document", "a gap", "another section"],
)
def test_what_does_not_follow_stays_apart(other):
    assert len(joined(candidate("a", 1, heading=""), other)) == 2


def passage(*chunks: ChunkRecord) -> Joined:
    return Joined(candidate(chunks[0].document_id), list(chunks))


def piece(ordinal: int, start: int, text: str) -> ChunkRecord:
    return chunk("a", 1, ordinal, text, start_offset=start, end_offset=start + len(text))


def test_joined_text_has_the_overlap_once():
    assert passage(piece(0, 0, "Uno. Dos."), piece(1, 5, "Dos. Tres.")).text == "Uno. Dos. Tres."


def test_joined_text_without_overlap_is_set_apart():
    assert passage(piece(0, 0, "Uno."), piece(1, 6, "Dos.")).text == "Uno.\nDos."


def test_offsets_that_do_not_agree_with_the_text_lose_nothing():
    assert passage(piece(0, 0, "Uno."), piece(1, 2, "Dos.")).text == "Uno.\nDos."


def test_context_is_added_on_both_sides_up_to_its_size_and_the_section():
    section = [chunk("a", 1, i, f"t{i}", heading="" if i < 4 else "Otra") for i in range(6)]
    found = passage(section[2])
    widen(found, section, 2, set())
    assert [part.ordinal for part in found.chunks] == [0, 1, 2, 3]


def test_context_that_another_passage_has_is_not_said_twice():
    section = [chunk("a", 1, i, f"t{i}") for i in range(5)]
    first, second, taken = passage(section[0]), passage(section[2]), {"a:1:0", "a:1:2"}
    widen(first, section, 1, taken)
    widen(second, section, 1, taken)
    assert [part.ordinal for part in first.chunks] == [0, 1]
    assert [part.ordinal for part in second.chunks] == [2, 3]


def test_words_of_the_title_are_told_as_asked():
    assert title_words("¿Cómo uso el MÓDEM del cuarto?", "Modem y luces del cuarto") == ["MÓDEM", "cuarto"]
