"""What a supervisor that was brought back finds: the mesh that runs on, and what runs beside it and nobody knows."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from services.cli.launcher.lifeline import hanging
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.plan import is_same_mesh
from services.cli.launcher.procfs import Process, kill_group, ourselves
from services.cli.launcher.state import MeshPhase, MeshState
from services.cli.settings import CliSettings

log = logging.getLogger("malla.launcher")

_KILLED_S = 5.0
"""How long the kernel may take to end what was killed."""


def adoptable(options: LaunchOptions, settings: CliSettings, previous: MeshState | None) -> MeshState | None:
    """Returns what a supervisor that died has left, if it is the mesh that would be started now."""
    if previous is None or previous.phase is MeshPhase.STOPPED:
        return None
    if not is_same_mesh(options, settings, previous):
        log.warning("configured otherwise now: starts anew")
        return None
    return previous


def end_strangers(data_dir: Path, left: MeshState | None, guardian_pid: int, grace_s: float) -> None:
    """Ends what hangs on our lifeline and is not in `mesh.json`: a life that was begun in the moment its supervisor died.

    Such a one may listen where another is to listen next: returns when all have ended.
    """
    known = [*_lives(left), ourselves(), Process.of(guardian_pid)]
    strangers = [process for process in hanging(data_dir) if process not in known]
    for process in strangers:
        log.warning("ends a process nobody knows", extra={"stranger_pid": process.pid})
        process.send(signal.SIGTERM)
    until = time.monotonic() + grace_s
    for process in strangers:
        if not process.wait(max(0.0, until - time.monotonic())):
            process.send(signal.SIGKILL)
            process.wait(_KILLED_S)
        kill_group(process.pid, process)


def _lives(left: MeshState | None) -> Iterable[Process | None]:
    for row in left.processes if left is not None else ():
        yield row.process
        yield from (life.process for life in row.beside)
