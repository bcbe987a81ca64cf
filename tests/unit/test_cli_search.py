"""What `malla search --explain` says."""

from __future__ import annotations

from common.models import Explanation, ScorePart, SearchResult
from services.cli.commands.search import explained

PARTS = [
    ScorePart(name="dense", score=0.874, normalised=2.5, weight=0.6, rank=1),
    ScorePart(name="lexical", normalised=-0.5, weight=0.2),
]


def test_each_part_says_its_score_its_place_and_what_it_added():
    told = Explanation(parts=PARTS, coverage=0.5, fused_score=0.8, fused_rank=3, rerank_score=4.25, title_words=["módem"])
    result = SearchResult(
        document_id="luces.md", text="La luz", page=2, score=4.25, also_in=["b"], chunk_ids=["1", "2"], explanation=told
    )
    first, score, dense, lexical = explained(1, result).splitlines()
    assert first == "1. luces.md, page 2: La luz"
    for note in ("4.250", "50% of the words", "was 0.800 at 3", "title has módem", "2 chunks joined", "also in b"):
        assert note in score
    assert "0.874 at 1" in dense
    assert dense.endswith("= +1.50")
    assert "not proposed" in lexical
    assert lexical.endswith("= -0.10")


def test_a_result_without_explanation_still_has_its_score():
    assert explained(2, SearchResult(document_id="a", text="t", score=0.5)).splitlines() == ["2. a: t", "   score 0.500"]
