"""Ending background tasks, and work that has to be done to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

_ASK_AGAIN_S = 0.5

T = TypeVar("T")


async def finished(work: Awaitable[T]) -> T:
    """Returns what some work comes to. A caller that is cancelled meanwhile, however often, is told so after the work's end.

    For what must not be overtaken by what the caller does next. `asyncio.shield` lets the work go on as well, but not wait for
    it, and `stop` asks more than once.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()  # seen: nobody is left to hear of it
        raise


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
