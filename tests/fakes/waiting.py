"""Waiting for a condition, not for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

_POLL_S = 0.01


async def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Returns the first true value of `condition()`, awaited where it is a coroutine; fails when there is none in time."""
    give_up = time.monotonic() + timeout_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < give_up, f"not within {timeout_s} s: {inspect.getsource(condition).strip()}"
        await asyncio.sleep(_POLL_S)
