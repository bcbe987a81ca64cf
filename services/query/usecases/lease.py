"""A right that is renewed while work is done under it, and work that stops when somebody else has the right."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from common.errors import MallaError
from common.tasks import stop

log = logging.getLogger("malla.query")

Renew = Callable[[], Awaitable[bool]]
"""Renews the right; False where another has it."""

T = TypeVar("T")

_RENEWALS = 3


class Lease:
    """A right of this call.

    Attributes:
        lost: Whether another has it now.
    """

    def __init__(self, renew: Renew, error: MallaError) -> None:
        """`error` tells a caller whose work was stopped."""
        self.lost = False
        self._renew = renew
        self._error = error
        self._working: asyncio.Task[object] | None = None

    async def over(self, events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Yields events as long as the right is there, and raises the error as soon as it is not."""
        task = asyncio.current_task()
        try:
            async with aclosing(events):
                self._working = task
                async for event in events:
                    # Whoever has the event is not to be disturbed: the loss is told when they come back for the next.
                    self._working = None
                    yield event
                    if self.lost:
                        raise self._error
                    self._working = task
        except asyncio.CancelledError:
            # Stopped by `_lose`, and not by the caller as well.
            if self.lost and task is not None and task.uncancel() == 0:
                raise self._error from None
            raise
        finally:
            self._working = None

    async def check(self) -> None:
        """Raises the error where the right is lost."""
        self.lost = self.lost or not await self._renew()
        if self.lost:
            raise self._error

    async def keep(self, every_s: float) -> None:
        """Renews the right until it is lost."""
        while not self.lost:
            await asyncio.sleep(every_s)
            try:
                self.lost = not await self._renew()
            except MallaError as error:  # The lease outlasts one renewal that fails.
                log.warning("a lease was not renewed: %s", error.reason)
            except Exception:
                log.exception("a lease was not renewed")
        log.warning("a lease was lost: %s", self._error.message)
        if self._working is not None:
            self._working.cancel()


@asynccontextmanager
async def kept(renew: Renew, lease_s: float, error: MallaError) -> AsyncIterator[Lease]:
    """Renews a right of `lease_s` seconds while the block runs."""
    lease = Lease(renew, error)
    keeper = asyncio.create_task(lease.keep(lease_s / _RENEWALS), name="lease")
    try:
        yield lease
    finally:
        await stop([keeper])
