"""News of jobs within one process, so that whoever follows a job need not keep asking the record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class JobNews:
    """Wakes those who follow a job when this process changes it."""

    def __init__(self) -> None:
        self._listening: dict[str, set[asyncio.Event]] = {}

    def tell(self, job_id: str) -> None:
        """Says that a job changed."""
        for arrived in self._listening.get(job_id, ()):
            arrived.set()

    def tell_all(self) -> None:
        """Wakes everybody."""
        for job_id in self._listening:
            self.tell(job_id)

    @contextmanager
    def followed(self, job_id: str) -> Iterator[asyncio.Event]:
        """Listens for news of a job while the block runs; yields what is set by each."""
        arrived = asyncio.Event()
        listening = self._listening.setdefault(job_id, set())
        listening.add(arrived)
        try:
            yield arrived
        finally:
            listening.discard(arrived)
            if not listening:
                self._listening.pop(job_id, None)


async def within(seconds: float, arrived: asyncio.Event) -> None:
    """Returns when news arrived, or when the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await arrived.wait()
