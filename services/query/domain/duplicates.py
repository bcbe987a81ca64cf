"""Passages that say the same: copies of a text in several documents, and copies with a word changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from services.query.domain.collection_index import Candidate

_SHINGLE_WORDS = 3
_ALIKE = 0.9
"""Share of word triples in common. One word changed in fifty is less than that: such passages say different things."""


@dataclass
class Distinct:
    """A passage, and the other documents that hold it, or nearly."""

    candidate: Candidate
    also_in: list[str] = field(default_factory=list)


def distinct(candidates: Iterable[Candidate]) -> list[Distinct]:
    """Returns the candidates without those that say what a better one says already."""
    kept: list[tuple[_Print, Distinct]] = []
    for candidate in candidates:
        mark = _Print(candidate.chunk.text)
        like = next((known for other, known in kept if mark.is_like(other)), None)
        if like is None:
            kept.append((mark, Distinct(candidate)))
        elif candidate.chunk.document_id not in {like.candidate.chunk.document_id, *like.also_in}:
            like.also_in.append(candidate.chunk.document_id)
    return [known for _, known in kept]


class _Print:
    """What of a text decides whether another says the same (Broder 1997, shingles)."""

    def __init__(self, text: str) -> None:
        self._words = re.findall(r"\w+", text.casefold())

    def is_like(self, other: _Print) -> bool:
        """Says whether two texts differ in a few words at most, and in no number: a price list is not like last year's."""
        if self._words == other._words:
            return True
        short, long = sorted((len(self._words), len(other._words)))
        if short < _ALIKE * long or self._numbers != other._numbers:
            return False
        common = len(self._shingles & other._shingles)
        return common >= _ALIKE * (len(self._shingles) + len(other._shingles) - common)

    @cached_property
    def _numbers(self) -> list[str]:
        return list(_numbers(self._words))

    @cached_property
    def _shingles(self) -> frozenset[tuple[str, ...]]:
        return frozenset(zip(*(self._words[i:] for i in range(_SHINGLE_WORDS)), strict=False))


def _numbers(words: Iterable[str]) -> Iterator[str]:
    return (word for word in words if any(character.isdigit() for character in word))
