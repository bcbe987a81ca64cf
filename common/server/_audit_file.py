"""A file that lines are appended to, kept within bounds, by as many processes as there are."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger("malla.server")


class AuditFile:
    """Appends whole lines. A file that has grown to its size is renamed to `<name>.1`, that one to `<name>.2`, and so on.

    A line is one write to a descriptor opened with O_APPEND: lines of several processes stand one after the other, and what was
    written survives the process.
    """

    def __init__(self, path: Path, most_bytes: int, most_files: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._descriptor: int | None = None
        self._fails = False

    def write(self, line: str) -> None:
        """Appends a line. A disk that is full or gone is told in the log and stops no call."""
        try:
            os.write(self._opened(), line.encode() + b"\n")
            self._fails = False
        except OSError as error:
            if not self._fails:
                log.error("the audit log cannot be written: %s", error.strerror, extra={"path": str(self._path)})
            self._fails = True

    def _opened(self) -> int:
        if self._descriptor is not None and not self._is_current(self._descriptor):
            os.close(self._descriptor)
            self._descriptor = None
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._rotate_if_full()
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def _is_current(self, descriptor: int) -> bool:
        """Whether the descriptor is the file of that name, and has room: another process may have renamed it."""
        opened = os.fstat(descriptor)
        with suppress(FileNotFoundError):
            return opened.st_ino == self._path.stat().st_ino and opened.st_size < self._most_bytes
        return False

    def _rotate_if_full(self) -> None:
        with self._exclusive():
            if not self._path.exists() or self._path.stat().st_size < self._most_bytes:
                return
            for number in range(self._most_files - 1, 1, -1):
                with suppress(FileNotFoundError):
                    self._numbered(number - 1).replace(self._numbered(number))
            if self._most_files > 1:
                self._path.replace(self._numbered(1))
            else:
                self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._path.with_name(f".{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
