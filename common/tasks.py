"""Ending background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_ASK_AGAIN_S = 0.5


async def stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and returns when all have ended, however they did.

    A cancellation can be lost: `asyncio.wait_for` before Python 3.12, which the database driver uses, returns a result that
    came in the same moment instead (gh-86296). A task that loops would run on, so it is asked again.
    """
    remaining = set(tasks)
    while remaining:
        for task in remaining:
            task.cancel()
        _, remaining = await asyncio.wait(remaining, timeout=_ASK_AGAIN_S)
