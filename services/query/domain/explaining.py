"""Saying how a score came about."""

from __future__ import annotations

import re
import unicodedata

from common.models import Explanation, ScorePart
from services.query.domain.fusion import Fused

_SHORTEST_WORD = 4  # shorter ones are in every title


def explanation(fused: Fused, coverage: float, rerank_score: float | None, query: str, title: str) -> Explanation:
    """Returns how a passage's score came about."""
    return Explanation(
        parts=[
            ScorePart(name=p.name, score=p.score, normalised=p.normalised, weight=p.weight, rank=p.rank) for p in fused.parts
        ],
        fused_score=fused.score,
        fused_rank=fused.rank,
        coverage=coverage,
        rerank_score=rerank_score,
        title_words=title_words(query, title),
    )


def title_words(query: str, title: str) -> list[str]:
    """Returns the words of a query, as written in it, that a title holds, whatever their case and accents."""
    held = {_plain(word) for word in re.findall(r"\w+", title)}
    words = dict.fromkeys(re.findall(r"\w+", query))
    return [word for word in words if len(word) >= _SHORTEST_WORD and _plain(word) in held]


def _plain(word: str) -> str:
    return unicodedata.normalize("NFKD", word.casefold()).encode("ascii", "ignore").decode() or word.casefold()
