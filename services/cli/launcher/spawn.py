"""Starts programs whose output goes to their log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_EXEC_CHILD = Path(__file__).with_name("exec_child.py")


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    lifeline: Path | None = None,
    dies_with_us: signal.Signals | None = None,
    pass_fds: Iterable[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own, so that a Ctrl-C in the terminal is the supervisor's alone.

    Args:
        command: Program and arguments.
        log: Gets what it prints, appended.
        env: Set on top of our environment.
        lifeline: It is killed when nobody holds this any more; None for one that hangs on nothing.
        dies_with_us: Sent to it when we die; None for one that lives on. Call from the main thread.
        pass_fds: Descriptors it inherits beside the standard ones.
    """
    if lifeline is not None:
        command = _bound("lifeline", str(lifeline), command)
    if dies_with_us is not None:
        command = _bound("parent", str(int(dies_with_us)), command)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )


def _bound(how: str, what: str, command: Sequence[str]) -> Sequence[str]:
    return (sys.executable, "-I", "-S", str(_EXEC_CHILD), str(os.getpid()), how, what, *command)


def tail(log: Path, lines: int = 15) -> list[str]:
    """Returns the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def exit_reason(code: int) -> str:
    """Says in words how a process ended."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
