"""One run of a program, from its start to its end."""

from __future__ import annotations

import asyncio
import signal
import subprocess

from services.cli.launcher.procfs import Process, ended, kill_group
from services.cli.launcher.spawn import exit_reason, spawn
from services.cli.launcher.spec import ProcessSpec, Variant


class Life:
    """A running program, and then how it ended.

    Attributes:
        turn: Which of the variants of its specification it is.
        process: Who it is; None where it was gone at once.
        has_served: Whether its check has ever been passed.
        over: Done when it has ended; the result says how. Whatever it had started has ended with it then.
    """

    def __init__(
        self, spec: ProcessSpec, turn: int, process: Process | None, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.turn = turn
        self.process = process
        self.has_served = False
        self._spec = spec
        self._child = child
        pid = child.pid if child is not None else process.pid if process is not None else 0
        self.over: asyncio.Task[str] = asyncio.create_task(self._end(pid), name=f"{spec.name} {pid}")

    @classmethod
    def begin(cls, spec: ProcessSpec, turn: int) -> Life:
        """Starts the program. Raises OSError."""
        for path in spec.stale:
            path.unlink(missing_ok=True)
        command = (*spec.command, *spec.variant(turn).arguments)
        child = spawn(command, spec.log, env=spec.env, lifeline=spec.lifeline, pass_fds=spec.inherits)
        return cls(spec, turn, Process.of(child.pid), child)

    @classmethod
    def adopt(cls, spec: ProcessSpec, turn: int, process: Process) -> Life:
        """Takes on a program that another supervisor has started. How it ends is not ours to know."""
        return cls(spec, turn, process)

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
            await ended(pid, None if self._child else self.process)
        finally:
            kill_group(pid, self.process)  # before it is reaped: its pid still names its group
            reason = exit_reason(self._child.wait()) if self._child else "ended"
        return reason
