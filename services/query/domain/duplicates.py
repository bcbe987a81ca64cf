"""Passages that say the same: copies of a text in several documents, and copies with a word changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from services.query.domain.collection_index import Candidate

T = TypeVar("T")

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
    groups = alike(candidates, lambda candidate: candidate.chunk.text)
    return [
        Distinct(best, others(best.chunk.document_id, (copy.chunk.document_id for copy in copies))) for best, *copies in groups
    ]


def alike(items: Iterable[T], text: Callable[[T], str]) -> list[list[T]]:
    """Returns the items, best first as given, each with those after it that say the same."""
    groups: list[tuple[_Print, list[T]]] = []
    for item in items:
        mark = _Print(text(item))
        group = next((known for first, known in groups if mark.is_like(first)), None)
        if group is None:
            groups.append((mark, [item]))
        else:
            group.append(item)
    return [group for _, group in groups]


def others(document_id: str, holders: Iterable[str]) -> list[str]:
    """Returns the documents among `holders` that are not this one, each once."""
    return [name for name in dict.fromkeys(holders) if name != document_id]


class _Print:
    """What of a text decides whether another says the same (Broder 1997, shingles)."""

    def __init__(self, text: str) -> None:
        self._text = text.casefold()

    def is_like(self, other: _Print) -> bool:
        """Says whether two texts differ in a few words at most, and in no number: a price list is not like last year's."""
        if self._digits != other._digits:
            return False  # the cheapest look, and most passages say some number
        if self._words == other._words:
            return True
        short, long = sorted((len(self._words), len(other._words)))
        if short < _ALIKE * long or self._numbers != other._numbers:
            return False
        common = len(self._shingles & other._shingles)
        # Texts of less than three words have none in common: such are alike only where they are the same.
        return 0 < common >= _ALIKE * (len(self._shingles) + len(other._shingles) - common)

    @cached_property
    def _digits(self) -> list[str]:
        return re.findall(r"\d+", self._text)

    @cached_property
    def _words(self) -> list[str]:
        return re.findall(r"\w+", self._text)

    @cached_property
    def _numbers(self) -> list[str]:
        return list(_numbers(self._words))

    @cached_property
    def _shingles(self) -> frozenset[tuple[str, ...]]:
        return frozenset(zip(*(self._words[i:] for i in range(_SHINGLE_WORDS)), strict=False))


def _numbers(words: Iterable[str]) -> Iterator[str]:
    return (word for word in words if not word.isalpha() and any(character.isdigit() for character in word))
