"""Those who wait for the same thing, one behind the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Lines:
    """One line a key: only its first asks the record, so that a crowd asks no more often than one."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}

    def __len__(self) -> int:
        """Returns for how many keys somebody waits."""
        return len(self._lines)

    @asynccontextmanager
    async def first(self, key: Hashable, until: float, late: Exception) -> AsyncIterator[None]:
        """Is the first in line while the block runs; raises `late` where that is not before `until`, of time.monotonic."""
        line = self._lines.setdefault(key, _Line())
        line.waiting += 1
        try:
            try:
                async with asyncio.timeout(until - time.monotonic() if line.lock.locked() else None):
                    await line.lock.acquire()
            except TimeoutError:
                raise late from None
            try:
                yield
            finally:
                line.lock.release()
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[key]
