"""Keeps the logs of a mesh within bounds."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

log = logging.getLogger("malla.launcher")

_LOOK_S = 5.0
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class LogBounds:
    """How much of each log is kept: at most `most_bytes` times one more than `most_files`.

    Attributes:
        most_bytes: Size at which a log is put aside.
        most_files: How many put aside are kept, as `<name>.1`, the newest, to `<name>.<most_files>`.
    """

    most_bytes: int = 16 * 1024 * 1024
    most_files: int = 3


class LogRotation:
    """Puts logs aside that have grown to their size.

    The proxy opens its logs again when it is told, so those are renamed. All other processes write to the descriptor they were
    started with, so their logs are copied and then emptied: they append, and go on at the beginning. A line written in the
    moment between is lost.

    Args:
        folder: Of the processes' logs, `*.log`.
        of_proxy: The logs the proxy opened by itself.
        admins: Tells the addresses of the running proxies' admin ports.
    """

    def __init__(self, folder: Path, of_proxy: Iterable[Path], bounds: LogBounds, admins: Callable[[], Iterable[str]]) -> None:
        self._folder = folder
        self._of_proxy = tuple(of_proxy)
        self._bounds = bounds
        self._admins = admins

    async def run(self, every_s: float = _LOOK_S) -> None:
        """Looks again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except OSError as error:  # a full disk, or the folder removed under us: the mesh goes on
                log.warning("cannot rotate the logs", extra={"reason": error.strerror})
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Puts aside every log that is full."""
        renamed = [path for path in self._of_proxy if self._is_full(path)]
        for path in renamed:
            path.replace(self._room_beside(path))
        if renamed:
            await self._reopen()
        for path in self._folder.glob("*.log"):
            if path not in self._of_proxy and self._is_full(path):
                await asyncio.to_thread(copy_and_empty, path, self._room_beside(path))

    def _is_full(self, path: Path) -> bool:
        return path.exists() and path.stat().st_size >= self._bounds.most_bytes

    def _room_beside(self, path: Path) -> Path:
        """Moves those put aside before by one, and returns where the next goes."""
        for number in range(self._bounds.most_files, 1, -1):
            before = path.with_name(f"{path.name}.{number - 1}")
            if before.exists():
                before.replace(path.with_name(f"{path.name}.{number}"))
        return path.with_name(f"{path.name}.1")

    async def _reopen(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            for admin in self._admins():
                try:
                    await http.post(f"http://{admin}/reopen_logs")
                except httpx.HTTPError as error:  # restarting: it opens the new file by itself
                    log.warning("the proxy was not told of its new logs", extra={"reason": type(error).__name__})


def copy_and_empty(path: Path, copy: Path) -> None:
    """Copies a log that is being appended to, until nothing more comes, and empties it."""
    with path.open("rb") as source, copy.open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        shutil.copyfileobj(source, target, _PIECE_BYTES)
        while piece := source.read(_PIECE_BYTES):
            target.write(piece)
        os.truncate(path, 0)
