"""One timer for all the waits of a stream, where `asyncio.timeout` would be a timer for each."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Watchdog:
    """Ends a wait in which nothing useful was heard for too long, with TimeoutError.

    Use it as a context manager around the stream, and `waiting` around each wait, both in the same task. What the stream's
    reader does between two waits takes as long as it takes.

    Attributes:
        limit_s: How long is waited at present.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + limit_s
        self._timer: asyncio.TimerHandle | None = None
        # Asked once: every question who runs costs a system call.
        self._task: asyncio.Task[object] | None = None
        self._waiting = False
        self._barked = False
        self._wait = _Wait(self)

    def heard(self, limit_s: float) -> None:
        """Notes a sign of life: from now on the next one may take `limit_s`."""
        self._until = self._loop.time() + limit_s
        if self._timer is not None and limit_s < self.limit_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._look)
        self.limit_s = limit_s

    def waiting(self) -> _Wait:
        """Returns the context manager of one wait. It is the same for every wait: one task waits at a time."""
        return self._wait

    def __enter__(self) -> Watchdog:
        self._task = asyncio.current_task()
        self._timer = self._loop.call_at(self._until, self._look)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if now < self._until:
            self._timer = self._loop.call_at(self._until, self._look)
        elif self._waiting and self._task is not None:
            self._barked = True
            self._task.cancel()
        else:
            # The stream's reader is busy with what it heard; `heard` follows.
            self._timer = None


class _Wait:
    """One wait of a watchdog."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def __enter__(self) -> None:
        self._watchdog._waiting = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        watchdog = self._watchdog
        watchdog._waiting = False
        if watchdog._barked:
            watchdog._barked = False
            task = watchdog._task
            # Cancelled by the watchdog alone, not by a caller who leaves as well.
            if task is not None and task.uncancel() == 0 and kind in (None, asyncio.CancelledError):
                raise TimeoutError from error
