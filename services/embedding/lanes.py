"""Two queues of texts, interactive and bulk, and how the next batch is drawn from them. Knows no clock, thread or network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.errors import OverloadedError
from common.models import EmbeddingKind, EmbeddingPriority

OwnerT = TypeVar("OwnerT")

_BULK_TURN = 4
"""While both wait, every fourth batch begins with bulk: a quarter of the server keeps ingestion going under any load."""


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
        self, is_wanted: Callable[[OwnerT], bool], dropped: Callable[[Item[OwnerT]], None] = _ignore
    ) -> list[Item[OwnerT]]:
        """Takes the next batch: one kind of text, shortest first. Texts whose owner no longer wants them are `dropped`."""
        self._turn += 1
        batch: list[Item[OwnerT]] = []
        for priority in self._order():
            for item in self._take(self._queues[priority], batch, is_wanted, dropped):
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
        is_wanted: Callable[[OwnerT], bool],
        dropped: Callable[[Item[OwnerT]], None],
    ) -> Iterator[Item[OwnerT]]:
        while queue:
            item = queue[0]
            if is_wanted(item.owner) and not self._fits(item, batch):
                return
            queue.popleft()
            self.waiting_tokens -= item.tokens
            if is_wanted(item.owner):
                yield item
            else:
                dropped(item)

    def _fits(self, item: Item[OwnerT], batch: list[Item[OwnerT]]) -> bool:
        if not batch:
            return True
        tokens = sum(other.tokens for other in batch) + item.tokens
        return len(batch) < self.batch_texts and tokens <= self.batch_tokens and item.kind is batch[0].kind
