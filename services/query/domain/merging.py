"""One ranking of what was found in several collections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.models import SearchResult
from services.query.domain.duplicates import alike, others
from services.query.domain.fusion import Ranking, fuse


@dataclass(frozen=True)
class Part:
    """What a search of one collection found.

    Attributes:
        results: Explained, so that it is known what each index said.
        model: The model of the vectors that were compared.
    """

    results: Sequence[SearchResult]
    model: str


def merged(parts: Sequence[Part]) -> list[SearchResult]:
    """Returns the passages of several collections, best first, each once though several collections hold it."""
    return [
        best.model_copy(update={"also_in": others(best.document_id, _holders(best, *copies))})
        for best, *copies in alike(_best_first(parts), lambda result: result.text)
    ]


def _holders(*results: SearchResult) -> Iterator[str]:
    for result in results:
        yield from (result.document_id, *result.also_in)


def _best_first(parts: Sequence[Part]) -> list[SearchResult]:
    """Returns what was found, by what can be compared.

    The scores tell a passage's place in its own collection, and the best passage of a collection that is about something else
    has as good a place as any. So what the indexes said is fused anew over all of them, each model's vectors by themselves. A
    reranker's scores can be compared as they are.
    """
    found = [(result, part.model) for part in parts for result in part.results]
    results = [result for result, _ in found]
    if all(result.explanation is not None and result.explanation.rerank_score is not None for result in results):
        return sorted(results, key=lambda result: -result.score)
    said: dict[tuple[str, str], dict[int, float]] = {}
    weights: dict[tuple[str, str], float] = {}
    for number, (result, model) in enumerate(found):
        for part in result.explanation.parts if result.explanation else ():
            name = (part.name, model if part.name == "dense" else "")
            said.setdefault(name, {})
            weights[name] = max(part.weight, weights.get(name, 0.0))
            if part.score is not None:
                said[name][number] = part.score
    rankings = [Ranking(name[0], scores, weights[name]) for name, scores in said.items()]
    return [results[one.key].model_copy(update={"score": one.score}) for one in fuse(rankings)]
