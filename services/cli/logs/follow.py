"""Reads what is appended to logs, also when they are put aside meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.logs.lines import LogLine, parse


@dataclass
class _Tail:
    """Where reading has come to in one file."""

    path: Path
    inode: int = 0
    offset: int = 0
    partial: bytes = b""
    before: LogLine | None = None

    def go_to_end(self) -> None:
        if self.path.exists():
            found = self.path.stat()
            self.inode, self.offset = found.st_ino, found.st_size

    def read(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                self._begin_anew_if_put_aside()
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(data)
        *whole, self.partial = (self.partial + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole if line.strip()]

    def _begin_anew_if_put_aside(self) -> None:
        found = self.path.stat()
        if found.st_ino != self.inode or found.st_size < self.offset:
            self.inode, self.offset, self.partial = found.st_ino, 0, b""


class Follower:
    """Follows the logs of some processes from where they end now; of all, also those that begin later, where none is named."""

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self._folder = folder
        self._names = names
        self._tails: dict[str, _Tail] = {}
        for tail in self._known():
            tail.go_to_end()

    def news(self) -> list[LogLine]:
        """Returns what has been appended since it was last asked, in the order of its time."""
        lines = []
        for tail in self._known():
            for text in tail.read():
                tail.before = parse(tail.path.stem, text, tail.before)
                lines.append(tail.before)
        return sorted(lines, key=lambda line: line.time)

    def _known(self) -> list[_Tail]:
        names = self._names or sorted(path.stem for path in self._folder.glob("*.log"))
        return [self._tails.setdefault(name, _Tail(self._folder / f"{name}.log")) for name in names]
