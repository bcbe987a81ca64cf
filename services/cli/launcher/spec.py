"""What a process is, before it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.launcher.checks import Check


@dataclass(frozen=True)
class ProcessSpec:
    """A process to keep running.

    Attributes:
        name: Unique in the mesh; also names the log.
        command: Program and arguments.
        log: Where its output is appended.
        check: How it says that it serves.
        needs: Names of the processes that must be ready before it starts, and that stop only after it.
        env: Set on top of the supervisor's environment.
        stale: Files that a killed life leaves behind and that keep the next one from starting.
        before_stop: Awaited before SIGTERM, for a process that does not drain itself.
        grace_s: Seconds from SIGTERM to SIGKILL.
        dies_with_us: Whether the death of the supervisor is its own.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    check: Check
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[Path, ...] = ()
    before_stop: Callable[[], Awaitable[None]] | None = None
    grace_s: float = 25.0
    dies_with_us: bool = True
