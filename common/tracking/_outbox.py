"""Where rows wait while the database is away: one append-only file per server, durable before a commit returns.

A line is the CRC-32 of a row and the row as JSON. A line cut short by a crash was never acknowledged; it is noticed and left
out. A server holds the lock (flock) of its file while it lives, so a file whose lock can be had belongs to a dead server, and
whoever has it brings its rows home.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.tasks import finished

log = logging.getLogger("malla.tracking")

_SUFFIX = ".outbox"
_LINES = 200

Row = Mapping[str, Any]


class Outbox:
    """One file, open and locked. Rows are mappings with an `_id`. I/O happens in threads, one at a time."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = asyncio.Lock()
        self.cleared = 0
        self._places: dict[str, int] = {}
        self._size = os.fstat(descriptor).st_size

    @classmethod
    def create(cls, folder: Path, server: str) -> Outbox:
        """Makes a file of this server's own. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            path = folder / f"{server}-{os.getpid()}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
            # Somebody who looks for files of dead servers may have taken it before it was locked.
            if outbox := cls._locked(path, os.O_CREAT | os.O_EXCL):
                _sync_folder(folder)
                return outbox

    @classmethod
    def adopt(cls, folder: Path) -> list[Outbox]:
        """Opens the files of dead servers. One that cannot be opened keeps none of the others from it."""
        found = []
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            try:
                outbox = cls._locked(path, 0)
            except OSError as error:
                log.warning("usage in %s cannot be brought home: %s", path, error.strerror)
            else:
                found += [outbox] if outbox else []
        return found

    @classmethod
    def _locked(cls, path: Path, flags: int) -> Outbox | None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | flags, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    async def append(self, rows: Sequence[Row], cleared: int | None = None) -> set[str] | None:
        """Adds rows whose identifier does not wait yet, and returns the identifiers that do. Durable when it returns.

        Does nothing and returns None where the file was not emptied `cleared` times. Raises OSError.
        """
        async with self._lock:
            if cleared not in (None, self.cleared):
                return None
            places: dict[str, int] = {}
            waiting, data = set(), bytearray()
            for row in rows:
                name = row["_id"]
                if name in self._places or name in places:
                    waiting.add(name)
                else:
                    places[name] = self._size + len(data)
                    data += _line(row)
            if data:
                await asyncio.to_thread(self._write, bytes(data))
                self._size += len(data)
                self._places |= places
            return waiting

    async def find(self, identifier: str) -> Row | None:
        """Returns a row that waits."""
        async with self._lock:
            place = self._places.get(identifier)
            if place is None:
                return None
            rows, _ = await asyncio.to_thread(self._read, place, 1)
            return rows[0]

    async def read(self, offset: int) -> tuple[list[Row], int]:
        """Returns the next rows from an offset, and the offset after them."""
        async with self._lock:
            return await asyncio.to_thread(self._read, offset, _LINES)

    async def clear(self, end: int) -> bool:
        """Empties the file, all of whose rows up to `end` have arrived; returns False where more came in the meantime.

        Done to its end also where the caller is cancelled: a row that came next would be cut off by the thread that empties it.
        """
        return await finished(self._cleared(end))

    async def _cleared(self, end: int) -> bool:
        async with self._lock:
            if self._size > end:
                return False
            await asyncio.to_thread(self._truncate, 0)
            self._size = 0
            self.cleared += 1
            self._places.clear()
            return True

    def close(self) -> None:
        """Lets go of the file, and deletes it where nothing waits in it."""
        if self._size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            # A full disk: half a line must not stand before the next one.
            self._truncate(self._size)
            raise

    def _truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)

    def _read(self, offset: int, lines: int) -> tuple[list[Row], int]:
        rows: list[Row] = []
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                offset += len(line)
                row = _parsed(line)
                if row is None:
                    log.error("a line of %d bytes in %s is damaged and left out", len(line), self.path.name)
                else:
                    rows.append(row)
                if len(rows) >= lines:
                    break
        return rows, offset


def _line(row: Row) -> bytes:
    text = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parsed(line: bytes) -> Row | None:
    text = line[9:-1]
    if line[-1:] != b"\n" or line[:9] != b"%08x " % zlib.crc32(text):
        return None
    row: Row = json.loads(text)
    return row


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
