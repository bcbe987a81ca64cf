"""What a process is, before it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.launcher.checks import Check

Drain = Callable[[bool], Awaitable[None]]
"""Lets what a process does end. Given whether another life of it serves in its place."""


@dataclass(frozen=True)
class Variant:
    """What two lives of one process that run side by side must not share.

    Attributes:
        arguments: After those of the process.
        before_stop: Awaited before SIGTERM, for a process that does not drain itself.
    """

    arguments: tuple[str, ...] = ()
    before_stop: Drain | None = None


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
        variants: The first life is the first of them; one that replaces another on request is the next.
        is_shareable: Whether two lives of it can listen on its port at once: a new one then serves before the old one drains.
        grace_s: Seconds from SIGTERM to SIGKILL.
        start_timeout_s: Seconds that a restart on request may take until it serves.
        lifeline: It dies when nobody holds this any more; None for one that hangs on nothing.
        inherits: Descriptors of ours that it gets.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    check: Check
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[Path, ...] = ()
    variants: tuple[Variant, ...] = (Variant(),)
    is_shareable: bool = False
    grace_s: float = 25.0
    start_timeout_s: float = 120.0
    lifeline: Path | None = None
    inherits: tuple[int, ...] = ()

    def variant(self, turn: int) -> Variant:
        """Returns the variant of a turn."""
        return self.variants[turn % len(self.variants)]
