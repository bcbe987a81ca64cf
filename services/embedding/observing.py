"""What is seen of the embedding queue: a call's wait and its share of each batch, as spans and measurements."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from opentelemetry.context import Context as TraceContext
from opentelemetry.context import get_current

from common.models import EmbeddingPriority
from common.telemetry import Facts, Reading, Telemetry, active, observe
from services.embedding.lanes import Item, Lanes

FollowedT = TypeVar("FollowedT", bound="Followed")


@dataclass
class Seen:
    """One call, followed from its arrival in the queue.

    Attributes:
        trace: The caller's, whose children the spans become.
        waiting: Whether none of its texts was taken yet.
    """

    live: Telemetry
    trace: TraceContext
    lane: str
    texts: int
    tokens: int
    arrived_ns: int
    waiting: bool = True

    def drawn(self) -> None:
        """Notes that the wait is over; the first time only."""
        if self.waiting:
            self.waiting = False
            self._wait(dropped=False)

    def dropped(self) -> None:
        """Notes that a text left the queue uncomputed: the caller left, or its deadline passed."""
        self.live.measures.dropped_texts.add(1, {"malla.lane": self.lane})
        if self.waiting:
            self.waiting = False
            self._wait(dropped=True)

    def computed(self, own_texts: int, facts: Facts, began_ns: int) -> None:
        """Notes its share of a batch that just ended."""
        shown: dict[str, str | bool | int | float] = {**facts, "malla.lane": self.lane, "malla.batch.own_texts": own_texts}
        self.live.tracer.start_span("embedding batch", self.trace, attributes=shown, start_time=began_ns).end()

    def _wait(self, *, dropped: bool) -> None:
        facts: dict[str, str | bool | int | float] = {
            "malla.lane": self.lane,
            "malla.texts": self.texts,
            "malla.tokens": self.tokens,
            "malla.dropped": dropped,
        }
        self.live.measures.queue_wait.record((time.time_ns() - self.arrived_ns) / 1e9, {"malla.lane": self.lane})
        self.live.tracer.start_span("embedding queue", self.trace, attributes=facts, start_time=self.arrived_ns).end()


def seen(priority: EmbeddingPriority, texts: int, tokens: int) -> Seen | None:
    """Returns what follows a call of the current span; None where nothing is observed."""
    live = active()
    if live is None:
        return None
    return Seen(live, get_current(), priority.name.lower(), texts, tokens, time.time_ns())


class Followed(Protocol):
    """A call that may be followed."""

    seen: Seen | None


def taken(batch: Sequence[Item[FollowedT]]) -> None:
    """Notes that these texts no longer wait."""
    if active() is not None:
        for item in batch:
            if item.owner.seen is not None:
                item.owner.seen.drawn()


def dropped(item: Item[FollowedT]) -> None:
    """Notes that a text is never computed."""
    if item.owner.seen is not None:
        item.owner.seen.dropped()


def computed(batch: Sequence[Item[FollowedT]], began_ns: int) -> None:
    """Notes that a batch has just ended."""
    live = active()
    if live is None:
        return
    calls = Counter(id(item.owner) for item in batch)
    tokens = sum(item.tokens for item in batch)
    live.measures.batch_texts.record(len(batch))
    live.measures.batch_tokens.record(tokens)
    facts = {"malla.batch.texts": len(batch), "malla.batch.tokens": tokens, "malla.batch.calls": len(calls)}
    for owner in {id(item.owner): item.owner for item in batch}.values():
        if owner.seen is not None:
            owner.seen.computed(calls[id(owner)], facts, began_ns)


def observe_lanes(lanes: Mapping[str, Lanes[FollowedT]]) -> None:
    """Reports how much waits for each model, in each lane."""

    def texts() -> Iterable[Reading]:
        return [
            (waiting, {"malla.lane": priority.name.lower(), "malla.model": model})
            for model, own in lanes.items()
            for priority, waiting in own.waiting_texts().items()
        ]

    observe("malla.embedding.queue.texts", texts, unit="{text}", description="Texts that wait, by lane.")
    observe(
        "malla.embedding.queue.tokens",
        lambda: [(own.waiting_tokens, {"malla.model": model}) for model, own in lanes.items()],
        unit="{token}",
        description="Tokens that wait.",
    )
