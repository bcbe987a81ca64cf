"""One run of a program, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress

from services.cli.launcher.procfs import Process, ended
from services.cli.launcher.spawn import exit_reason, spawn
from services.cli.launcher.spec import ProcessSpec, Variant


class Life:
    """A running program, and then how it ended.

    Attributes:
        turn: Which of the variants of its specification it is.
        process: Who it is; None where it was gone at once.
        over: Done when it has ended; the result says how. Whatever it had started has ended with it then.
        began_at: By the clock of time.monotonic.
    """

    def __init__(self, spec: ProcessSpec, turn: int, child: subprocess.Popen[bytes] | None, pid: int) -> None:
        self.turn = turn
        self.process = Process.of(pid)
        self.began_at = time.monotonic()
        self._spec = spec
        self._child = child
        self.over: asyncio.Task[str] = asyncio.create_task(self._end(pid), name=f"{spec.name} {pid}")

    @classmethod
    def begin(cls, spec: ProcessSpec, turn: int) -> Life:
        """Starts the program. Raises OSError."""
        for path in spec.stale:
            path.unlink(missing_ok=True)
        death_signal = signal.SIGKILL if spec.dies_with_us else None
        command = (*spec.command, *spec.variant(turn).arguments)
        child = spawn(command, spec.log, env=spec.env, dies_with_us=death_signal)
        return cls(spec, turn, child, child.pid)

    @classmethod
    def adopt(cls, spec: ProcessSpec, pid: int) -> Life:
        """Takes on a program that another supervisor has started."""
        return cls(spec, 0, None, pid)

    @property
    def variant(self) -> Variant:
        """What is its own."""
        return self._spec.variant(self.turn)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.over.done()

    def send(self, number: signal.Signals) -> None:
        """Signals it if it still runs."""
        if self.process is not None:
            self.process.send(number)

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Returns when it has ended, or after the timeout; says whether it has."""
        await asyncio.wait([self.over], timeout=timeout_s)
        return self.is_over

    async def _end(self, pid: int) -> str:
        try:
            await ended(pid)
        finally:
            reason = exit_reason(_reaped(self._child)) if self._child else "ended"
        return reason


def _reaped(child: subprocess.Popen[bytes]) -> int:
    # Not yet reaped, its pid still names its group: whatever it had started ends with it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()
