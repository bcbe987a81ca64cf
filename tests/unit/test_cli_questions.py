"""Question files and what is measured with them."""

from __future__ import annotations

import pytest

from common.models import SearchMode, SearchResponse, SearchResult
from services.cli.evaluation import Ranked, rank_all, score
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


async def test_a_document_that_is_not_found_has_no_rank():
    [ranked] = await rank_all(FakeClient("es-b.md"), "manual", [question()], SearchMode.HYBRID)
    assert ranked.rank == 0


def test_the_score():
    ranked = [Ranked(question(), rank, has_words=rank == 1) for rank in (1, 2, 6, 0)]
    result = score(ranked)
    assert result.questions == 4
    assert result.mrr == pytest.approx((1 + 1 / 2 + 1 / 6) / 4)
    assert (result.recall, result.words) == (0.5, 0.25)
