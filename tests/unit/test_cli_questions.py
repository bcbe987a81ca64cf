"""Question files and what is measured with them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from common.models import SearchMode, SearchResponse, SearchResult
from services.cli.evaluation import Ranked, by_language, rank_all, score
from services.cli.evaluation_views import bar, report
from services.cli.output import CliError
from services.cli.questions import Question, read_questions


def question(**fields):
    return Question(**({"id": "q1", "language": "es", "question": "¿?", "document": "es/a.md", "expected": ["$499"]} | fields))


def test_a_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(question().model_dump_json() + "\n\n" + question(id="q2").model_dump_json() + "\n")
    assert [row.id for row in read_questions(path)] == ["q1", "q2"]


def test_a_malformed_line_is_named(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(question().model_dump_json() + "\n{}\n")
    with pytest.raises(CliError, match="Line 2 of"):
        read_questions(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"document": "a.md"}', "it has no `question`."),
        ('{"question": "", "document": "a.md"}', "`question`: String should"),
        ('{"question": "¿?", "document": "a.md", "answers": [7]}', "`answers.0`: Input should"),
        ('{"question": "¿?"}', "no question: it names no document"),
        ("{", "no question: Invalid JSON"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_its_field(tmp_path, line, said):
    path = tmp_path / "questions.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(CliError) as told:
        read_questions(path)
    assert said in str(told.value)
    assert "error," not in str(told.value)


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_file_without_questions(tmp_path, text):
    path = tmp_path / "questions.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CliError, match=r"questions\.jsonl"):
        read_questions(path)


def test_an_answer_is_right_when_it_has_all_words():
    asked = question(expected=["$499", "Fibra  Penca"])
    assert asked.is_answered_by("El plan FIBRA\nPENCA cuesta $499.")
    assert not asked.is_answered_by("El plan Fibra Penca cuesta $349.")


def test_one_of_several_answers_is_enough():
    asked = question(expected=[], answers=["", "catorce días", "dos semanas"])
    assert asked.is_answered_by("Tiene dos  semanas.")
    assert not asked.is_answered_by("Tiene un mes.")


@pytest.mark.parametrize("name", ["document_id", "passage_id"])
def test_a_simple_line_names_a_question_and_a_document(tmp_path, name):
    path = tmp_path / "questions.jsonl"
    path.write_text(f'\n{{"question": "¿Cuánto?", "{name}": "00-000"}}\n')
    [asked] = read_questions(path)
    assert (asked.id, asked.document_id, asked.has_words) == ("2", "00-000", False)


def test_a_question_without_a_document_says_so(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "¿Cuánto?"}\n')
    with pytest.raises(CliError, match="names no document"):
        read_questions(path)


@pytest.mark.parametrize(("value", "cells"), [(0, ""), (1, "█" * 40), (0.5, "█" * 20), (0.5125, "█" * 20 + "▌"), (2, "█" * 40)])
def test_a_bar_is_as_long_as_its_share(value, cells):
    assert bar(value) == cells.ljust(40)


def test_the_report_sets_the_modes_side_by_side():
    found, missed = Ranked(question(), 1, True), Ranked(question(id="q7"), 0, False)
    out = Console(width=120, file=io.StringIO())
    out.print(report({SearchMode.HYBRID: [found, missed], SearchMode.LEXICAL: [found, found]}))
    told = out.file.getvalue()
    assert [line.split()[:4] for line in told.splitlines() if " all " in line] == [
        ["hybrid", "all", "2", "0.500"],
        ["lexical", "all", "2", "1.000"],
    ]
    assert "hybrid  " + bar(0.5) + " 0.500" in told
    assert "q7: es/a.md not found" in told


def test_the_document_is_named_as_ingest_names_it():
    assert question(document="es/planes-y-precios.md").document_id == "es-planes-y-precios.md"


class FakeClient:
    """Finds the same passages whatever is asked."""

    def __init__(self, *documents):
        self.results = [SearchResult(document_id=name, text=f"text of {name} $499") for name in documents]
        self.asked = []

    async def search(self, collection_id, query, **options):
        self.asked.append((collection_id, query, options))
        return SearchResponse(success=True, message="OK", results=self.results)


async def test_the_rank_counts_documents_not_passages():
    client = FakeClient("es-b.md", "es-b.md", "es-b.md", "es-a.md")
    [ranked] = await rank_all(client, "manual", [question()], SearchMode.DENSE)
    assert (ranked.rank, ranked.has_words) == (2, True)
    assert client.asked == [("manual", "¿?", {"k": 10, "mode": SearchMode.DENSE})]


async def test_a_document_whose_text_another_result_has_stands_at_its_place():
    client = FakeClient("es-c.md", "es-b.md", "es-d.md")
    client.results[1].also_in = ["es-a.md"]
    [ranked] = await rank_all(client, "manual", [question()], SearchMode.HYBRID)
    assert ranked.rank == 2


async def test_a_document_that_is_not_found_has_no_rank():
    [ranked] = await rank_all(FakeClient("es-b.md"), "manual", [question()], SearchMode.HYBRID)
    assert ranked.rank == 0


def test_the_score():
    ranked = [Ranked(question(), rank, has_words=rank == 1) for rank in (1, 2, 6, 0)]
    result = score(ranked)
    assert result.questions == 4
    assert result.mrr == pytest.approx((1 + 1 / 2 + 1 / 6) / 4)
    assert result.recall == {1: 0.25, 5: 0.5, 10: 0.75}
    assert result.words == 0.25


def test_words_are_told_only_where_some_are_expected():
    assert score([Ranked(question(expected=[]), 1, has_words=True)]).words is None
    assert score([Ranked(question(expected=[]), 1, True), Ranked(question(), 1, False)]).words == 0


def test_languages_are_told_apart_where_there_are_several():
    spanish, english = Ranked(question(), 1, True), Ranked(question(language="en"), 2, True)
    assert {name: one.mrr for name, one in by_language([spanish, english]).items()} == {"es": 1, "en": 0.5, "all": 0.75}
    assert list(by_language([spanish])) == ["all"]
