"""What the processes of a mesh hang on: a FIFO in its data dir.

The supervisor and its guardian hold it. Each process that must not outlive both has it open for reading; the kernel kills it
when the last holder is gone, whatever killed that (exec_child.py). While one of the two lives, the mesh goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.cli.launcher.procfs import Process


def lifeline_path(data_dir: Path) -> Path:
    """Returns where a data dir's lifeline is."""
    return data_dir / "lifeline"


@contextmanager
def held(data_dir: Path) -> Iterator[int]:
    """Holds the lifeline of a data dir while the block runs; gives the descriptor, which whoever inherits it holds as well."""
    path = lifeline_path(data_dir)
    if not path.is_fifo():
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def hanging(data_dir: Path) -> list[Process]:
    """Returns the session leaders that have the lifeline open: whatever a supervisor has started, and who holds it."""
    lifeline = lifeline_path(data_dir).stat()
    leaders = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal() and _leads(int(folder.name))]
    found = (Process.of(pid) for pid in leaders if _has_open(pid, lifeline))
    return [process for process in found if process is not None]


def _leads(pid: int) -> bool:
    with suppress(OSError):  # gone, or not ours to ask
        return os.getsid(pid) == pid
    return False


def _has_open(pid: int, file: os.stat_result) -> bool:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if os.path.samestat(descriptor.stat(), file):
                    return True
    return False
