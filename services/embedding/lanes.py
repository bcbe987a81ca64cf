"""Two queues of texts, interactive and bulk, and how the next batch is drawn from them. Knows no clock, thread or network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.errors import OverloadedError
from common.models import EmbeddingKind, EmbeddingPriority

OwnerT = TypeVar("OwnerT")

_BULK_TURN = 4
"""While both wait, every fourth batch begins with bulk: a quarter of the server keeps ingestion going under any load."""

_UNBOUNDED: Mapping[EmbeddingPriority, int] = {}


@dataclass
class Item(Generic[OwnerT]):
    """One text of one call.

    Attributes:
        owner: The call it belongs to.
        position: Its place among the call's texts.
        tokens: Tokens the model will read.
    """

    owner: OwnerT
    position: int
    text: str
    tokens: int
    kind: EmbeddingKind


def _ignore(_: object) -> None:
    """Nobody asks what became of a text that nobody wants."""


@dataclass
class Lanes(Generic[OwnerT]):
    """The waiting texts.

    Attributes:
        most_tokens: Tokens that may wait; a call that would exceed it is refused whole.
        batch_tokens: Tokens of one batch.
        batch_texts: Texts of one batch.
    """

    most_tokens: int
    batch_tokens: int
    batch_texts: int
    waiting_tokens: int = 0
    _queues: dict[EmbeddingPriority, deque[Item[OwnerT]]] = field(
        default_factory=lambda: {p: deque() for p in EmbeddingPriority}
    )
    _turn: int = 0

    def put(self, items: list[Item[OwnerT]], priority: EmbeddingPriority, *, tokens_per_s: float) -> None:
        """Queues all texts of one call. Raises OverloadedError, and queues none, when they do not fit.

        An empty queue takes any call, so that a call larger than the queue is slow rather than impossible.
        """
        tokens = sum(item.tokens for item in items)
        if self.waiting_tokens and self.waiting_tokens + tokens > self.most_tokens:
            raise OverloadedError("embedding", retry_after_s=max(0.1, self.waiting_tokens / tokens_per_s))
        self._queues[priority].extend(items)
        self.waiting_tokens += tokens

    def waiting_texts(self) -> dict[EmbeddingPriority, int]:
        """Returns how many texts wait in each queue."""
        return {priority: len(queue) for priority, queue in self._queues.items()}

    def draw(
        self,
        is_wanted: Callable[[OwnerT], bool],
        dropped: Callable[[Item[OwnerT]], None] = _ignore,
        *,
        of: Sequence[EmbeddingPriority] = (),
        among: int = 1,
        most_tokens: Mapping[EmbeddingPriority, int] = _UNBOUNDED,
    ) -> list[Item[OwnerT]]:
        """Takes the next batch: one kind of text, shortest first. Texts whose owner no longer wants them are `dropped`.

        Args:
            is_wanted: Whether a text is still to be computed.
            dropped: Called with each text that is not.
            of: The queues it is taken from; both in turns where none is named.
            among: How many take from them side by side: each takes its part of what waits.
            most_tokens: Tokens of a batch that texts of a queue are in, where that is fewer than of any batch.
        """
        self._turn += 1
        batch: list[Item[OwnerT]] = []
        for priority in of or self._order():
            queue = self._queues[priority]
            part = -(-len(queue) // among) if among > 1 else self.batch_texts
            room = (min(part, self.batch_texts), min(most_tokens.get(priority, self.batch_tokens), self.batch_tokens))
            for item in self._take(queue, batch, room, is_wanted, dropped):
                batch.append(item)
        return sorted(batch, key=lambda item: item.tokens)

    def _order(self) -> tuple[EmbeddingPriority, EmbeddingPriority]:
        if self._turn % _BULK_TURN == 0:
            return EmbeddingPriority.BULK, EmbeddingPriority.INTERACTIVE
        return EmbeddingPriority.INTERACTIVE, EmbeddingPriority.BULK

    def _take(
        self,
        queue: deque[Item[OwnerT]],
        batch: list[Item[OwnerT]],
        room: tuple[int, int],
        is_wanted: Callable[[OwnerT], bool],
        dropped: Callable[[Item[OwnerT]], None],
    ) -> Iterator[Item[OwnerT]]:
        while queue:
            item = queue[0]
            if is_wanted(item.owner) and not _fits(item, batch, room):
                return
            queue.popleft()
            self.waiting_tokens -= item.tokens
            if is_wanted(item.owner):
                yield item
            else:
                dropped(item)


def _fits(item: Item[OwnerT], batch: Sequence[Item[OwnerT]], room: tuple[int, int]) -> bool:
    if not batch:
        return True
    most_texts, most_tokens = room
    tokens = sum(other.tokens for other in batch) + item.tokens
    return len(batch) < most_texts and tokens <= most_tokens and item.kind is batch[0].kind
