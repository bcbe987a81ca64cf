"""Keeps one process running."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from services.cli.launcher.backoff import Backoff
from services.cli.launcher.procfs import Process, ended
from services.cli.launcher.spawn import exit_reason, spawn
from services.cli.launcher.spec import ProcessSpec
from services.cli.launcher.state import ProcessPhase, ProcessState

log = logging.getLogger("malla.launcher")

_EARLY_DEATHS = 3


class ManagedProcess:
    """Starts a process when what it needs is ready, and again, with back-off, whenever it dies.

    Attributes:
        state: What `malla status` shows.
        ready: Set once it has served for the first time.
        hopeless: Set when it has died too often without ever serving.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        needs: Sequence[asyncio.Event] = (),
        on_change: Callable[[], None] = lambda: None,
        backoff: Backoff | None = None,
        adopted: int | None = None,
    ) -> None:
        self.spec = spec
        self.state = ProcessState(name=spec.name, port=spec.check.port, check=spec.check, log=spec.log)
        self.ready = asyncio.Event()
        self.hopeless = asyncio.Event()
        self._needs = needs
        self._on_change = on_change
        self._backoff = backoff or Backoff()
        self._adopted = adopted
        self._early_deaths = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to keep it running."""
        self._task = asyncio.create_task(self._keep(), name=self.spec.name)
        self._task.add_done_callback(self._on_end)

    async def stop(self) -> None:
        """Ends it: what `before_stop` does, SIGTERM, and after the grace SIGKILL."""
        self._stopping = True
        if self._task is None:
            return
        if self._runs:
            await self._drain()
            self._send(signal.SIGTERM)
            done, _ = await asyncio.wait([self._task], timeout=self.spec.grace_s)
            if not done:
                log.warning("killed after its grace", extra={"process_name": self.spec.name})
                self.kill()
        else:
            self._task.cancel()
        await asyncio.wait([self._task])
        self._show(ProcessPhase.STOPPED)

    def kill(self) -> None:
        """Ends it at once."""
        self._send(signal.SIGKILL)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("cannot be kept running", exc_info=error, extra={"process_name": self.spec.name})
            self.state.last_exit = "cannot be kept running"
            self.hopeless.set()

    async def _keep(self) -> None:
        for event in self._needs:
            await event.wait()
        while True:
            began = time.monotonic()
            await self._live()
            if self._stopping:
                return
            self._count_death()
            self._show(ProcessPhase.RESTARTING)
            await asyncio.sleep(self._backoff.after(time.monotonic() - began))
            self.state.restarts += 1

    async def _live(self) -> None:
        try:
            child = self._spawned()
        except OSError as error:
            self.state.last_exit = f"cannot be started: {error.strerror}"
            return
        pid = self._adopted or (child.pid if child else 0)
        self._adopted = None
        self.state.process = Process.of(pid)
        self.state.started_at = time.time()
        self._show(ProcessPhase.STARTING)
        readiness = asyncio.create_task(self._become_ready())
        try:
            await ended(pid)
        finally:
            readiness.cancel()
            self.state.last_exit = exit_reason(_reaped(child)) if child else "ended"
            self.state.process = None

    def _spawned(self) -> subprocess.Popen[bytes] | None:
        if self._adopted is not None:
            return None
        for path in self.spec.stale:
            path.unlink(missing_ok=True)
        death_signal = signal.SIGKILL if self.spec.dies_with_us else None
        return spawn(self.spec.command, self.spec.log, env=self.spec.env, dies_with_us=death_signal)

    async def _become_ready(self) -> None:
        await self.spec.check.wait()
        self._show(ProcessPhase.READY)
        self.ready.set()

    async def _drain(self) -> None:
        if self.spec.before_stop is not None and self.state.phase is ProcessPhase.READY:
            ending = asyncio.ensure_future(self.spec.before_stop())
            assert self._task is not None  # noqa: S101  # for mypy; stop() has checked it
            await asyncio.wait([ending, self._task], return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()

    def _count_death(self) -> None:
        log.warning("died", extra={"process_name": self.spec.name, "reason": self.state.last_exit})
        if not self.ready.is_set():
            self._early_deaths += 1
            if self._early_deaths >= _EARLY_DEATHS:
                self.hopeless.set()

    @property
    def _runs(self) -> bool:
        return self.state.process is not None

    def _send(self, number: signal.Signals) -> None:
        if self.state.process is not None:
            self.state.process.send(number)

    def _show(self, phase: ProcessPhase) -> None:
        self.state.phase = phase
        log.info(phase.value, extra={"process_name": self.spec.name, "restarts": self.state.restarts})
        self._on_change()


def _reaped(child: subprocess.Popen[bytes]) -> int:
    # Not yet reaped, its pid still names its group: whatever it had started ends with it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()
