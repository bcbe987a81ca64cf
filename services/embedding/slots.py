"""Where batches are computed: which texts each thread takes, how urgent it is to the system, and how much it takes at once."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from common.models import EmbeddingKind, EmbeddingPriority
from services.embedding.ports import Engine, Matrix

_BULK_NICE = 5
"""What bulk gives way by: beside a thread that does not, the system leaves it a quarter of a core, under any load."""

_RATE_WEIGHT = 0.2
_FIRST_RATE = 1000.0


@dataclass
class Pace:
    """How fast batches are computed, as lately seen."""

    tokens_per_s: float = _FIRST_RATE

    def saw(self, tokens: int, seconds: float) -> None:
        """Takes in what one batch took."""
        self.tokens_per_s += _RATE_WEIGHT * (tokens / max(seconds, 1e-6) - self.tokens_per_s)

    def tokens_in(self, seconds: float) -> int:
        """Returns how many tokens about so long a batch has; one at least."""
        return max(1, int(seconds * self.tokens_per_s))


@dataclass(eq=False)
class Slot:
    """Computes one batch at a time.

    Attributes:
        of: The lane whose texts it takes; empty where it is the only slot and takes from both in turns.
        bounded: The lanes whose texts make a batch short.
        beside: How many slots take from the same lane, it included.
        pace: Of all its batches and those of the slots beside it.
        bounded_pace: Of those with texts of bounded lanes.
        arrived: Set when texts come that it takes.
    """

    of: tuple[EmbeddingPriority, ...]
    bounded: tuple[EmbeddingPriority, ...]
    beside: int
    threads: ThreadPoolExecutor
    pace: Pace
    bounded_pace: Pace
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, priority: EmbeddingPriority) -> bool:
        """Whether it computes texts of a lane."""
        return not self.of or priority in self.of

    def most_tokens(self, seconds: float) -> Mapping[EmbeddingPriority, int]:
        """Returns how many tokens a batch may have in which lanes' texts are, so that it takes about so long."""
        return dict.fromkeys(self.bounded, self.bounded_pace.tokens_in(seconds))

    def saw(self, tokens: int, seconds: float, priorities: Iterable[EmbeddingPriority]) -> None:
        """Takes in what a batch took, with texts of these lanes."""
        self.pace.saw(tokens, seconds)
        if any(priority in self.bounded for priority in priorities):
            self.bounded_pace.saw(tokens, seconds)

    def compute(self, engine: Engine, texts: Sequence[str], kind: EmbeddingKind) -> Matrix:
        """Returns the rows of a batch. Runs in the slot's thread."""
        if not self.of or len(texts) == 1:
            return engine.embed(texts, kind)
        # One after the other in this thread, which knows how urgent they are: each takes one core anyway.
        return np.concatenate([engine.embed([text], kind) for text in texts])


def slots_of(at_once: int) -> list[Slot]:
    """Returns the slots for an engine that computes so many batches at a time.

    One that computes a single batch at a time gets one slot. Any other gets a set for each lane: a question then waits for no
    passage, however many there are, and the system gives it the core at once.
    """
    if at_once == 1:
        threads = ThreadPoolExecutor(1, thread_name_prefix="engine")
        return [Slot((), (EmbeddingPriority.BULK,), 1, threads, Pace(), Pace())]
    urgent = ThreadPoolExecutor(at_once, thread_name_prefix="engine")
    patient = ThreadPoolExecutor(at_once, thread_name_prefix="engine-bulk", initializer=_stand_back)
    return [
        *_set_of(EmbeddingPriority.INTERACTIVE, at_once, urgent),
        *_set_of(EmbeddingPriority.BULK, at_once, patient),
    ]


def _set_of(priority: EmbeddingPriority, at_once: int, threads: ThreadPoolExecutor) -> list[Slot]:
    pace, bounded_pace = Pace(), Pace()
    return [Slot((priority,), (priority,), at_once, threads, pace, bounded_pace) for _ in range(at_once)]


def _stand_back() -> None:
    # Linux alone takes a thread for what is nice; elsewhere the lanes share the cores evenly.
    if sys.platform == "linux":
        with suppress(OSError):
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + _BULK_NICE)
