"""Chunks that follow each other become one passage again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from common.store import ChunkRecord
from services.query.domain.collection_index import Candidate
from services.query.domain.duplicates import Distinct

_MOST_CHUNKS = 3
"""A passage grows no further by itself: it takes one of `k` places, and a prompt has room for so much."""


@dataclass
class Joined:
    """A passage: chunks of one section of a document, in order, without gaps.

    Attributes:
        best: The chunk that fits best, whose score and rank it has.
        also_in: Other documents that hold one of its chunks, or nearly.
    """

    best: Candidate
    chunks: list[ChunkRecord]
    also_in: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The chunks' text; what two of them share is there once."""
        rest = (_rest(before, after) for before, after in pairwise(self.chunks))
        return "".join((self.chunks[0].text, *rest))

    def touches(self, chunk: ChunkRecord) -> bool:
        """Whether a chunk comes right before or after it, in the same section."""
        first, last = self.chunks[0], self.chunks[-1]
        return _is_section(first, chunk) and chunk.ordinal in {first.ordinal - 1, last.ordinal + 1}

    def take(self, others: Iterable[ChunkRecord]) -> None:
        """Takes chunks in that touch it, or each other."""
        self.chunks = sorted([*self.chunks, *others], key=lambda chunk: chunk.ordinal)


def join(found: Iterable[Distinct], k: int) -> list[Joined]:
    """Returns the best `k` passages: what would stand among them as two neighbours is one, and its place goes to the next."""
    passages: list[Joined] = []
    for one in found:
        chunk = one.candidate.chunk
        touching = [passage for passage in passages if passage.touches(chunk)]
        if touching and 1 + sum(len(passage.chunks) for passage in touching) <= _MOST_CHUNKS:
            better, *others = touching
            better.take([chunk, *(taken for other in others for taken in other.chunks)])
            copies = [*one.also_in, *(name for other in others for name in other.also_in)]
            better.also_in = list(dict.fromkeys([*better.also_in, *copies]))
            passages = [passage for passage in passages if passage not in others]
        elif len(passages) < k:
            passages.append(Joined(one.candidate, [chunk], list(one.also_in)))
        else:
            break
    return passages


def widen(passage: Joined, beside: Sequence[ChunkRecord], distance: int, taken: set[str]) -> None:
    """Adds up to `distance` chunks of the section on either side, of those `beside`; none that another passage has taken."""
    for step in (-1, 1):
        for _ in range(distance):
            edge = passage.chunks[0 if step < 0 else -1]
            near = next((c for c in beside if c.ordinal == edge.ordinal + step and _is_section(c, edge)), None)
            if near is None or near.chunk_id in taken:
                break
            passage.take([near])
            taken.add(near.chunk_id)


def _is_section(one: ChunkRecord, other: ChunkRecord) -> bool:
    return (one.document_id, one.version, one.heading) == (other.document_id, other.version, other.heading)


def _rest(before: ChunkRecord, after: ChunkRecord) -> str:
    shared = before.end_offset - after.start_offset
    # Chunks lose white space at their ends, so the overlap may be a little less than their offsets say.
    for length in range(min(shared, len(before.text), len(after.text)), 0, -1):
        if before.text.endswith(after.text[:length]):
            return after.text[length:]
    return "\n" + after.text
