"""Tells a process that hangs from one that is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.cli.launcher.checks import Check

_FEWEST = 3


@dataclass(frozen=True)
class Patience:
    """How long a process may fail its check before it is taken for hung.

    Attributes:
        for_s: Seconds of failures without a success between them; 0 to wait forever.
        answer_s: Seconds an answer may take: long, so that a busy machine does not look like a hung process.
        pause_s: Seconds between two checks.
    """

    for_s: float = 30.0
    answer_s: float = 5.0
    pause_s: float = 5.0


async def until_hung(check: Check, patience: Patience, clock: Callable[[], float] = time.monotonic) -> str:
    """Returns what is wrong once a process has failed its check, every time it was asked, for too long.

    At least three checks in a row: after a machine was suspended, a clock alone would condemn a process that is well.
    """
    failures, since = 0, 0.0
    while True:
        await asyncio.sleep(patience.pause_s)
        asked_at = clock()
        why = await check.silence(patience.answer_s)
        if not why or patience.for_s <= 0:
            failures = 0
            continue
        failures += 1
        since = asked_at if failures == 1 else since
        if failures >= _FEWEST and clock() - since >= patience.for_s:
            return why
