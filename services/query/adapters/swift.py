"""Folders in memory, for indexes that are small: a commit there waits for no disk.

tantivy writes a commit of ten passages to disk with some twenty syncs, 60 ms on a quiet disk and 300 beside a database, and
the next search waits for it. Nothing is lost with such a folder that the record does not have.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108  # what is made in it is ours alone, and checked to be
MOST_BYTES = 64_000_000
"""An index that takes more than that moves to disk."""

_LEAST_FREE = 4
"""A merge takes the index's size again, and others want room, too: Docker's 64 MB of shared memory are too few."""


def swift_root() -> Path | None:
    """Returns a folder in memory that belongs to this user alone; None where there is none."""
    root = _MEMORY / f"malla-{os.getuid()}"
    try:
        if not has_room(_MEMORY):
            return None
        root.mkdir(exist_ok=True, mode=0o700)
        about = root.lstat()
    except OSError:
        return None
    is_ours = about.st_uid == os.getuid() and not about.st_mode & 0o077 and not root.is_symlink()
    return root if is_ours else None


def has_room(folder: Path) -> bool:
    """Says whether the file system of a folder has room for one more small index."""
    return shutil.disk_usage(folder).free >= _LEAST_FREE * MOST_BYTES


def bytes_in(folder: Path) -> int:
    """Returns what the files of a folder take, while some may go."""
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
