"""Chooses lines, and reads them from the files of all processes in the order of their time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.cli.logs.lines import LEVELS, LogLine, parse

_TAIL_BYTES = 256 * 1024


@dataclass(frozen=True)
class Selection:
    """Which lines are meant.

    Attributes:
        since: The earliest time; None for any.
        level: The lowest level.
        request_id: The request; empty for any line.
    """

    since: datetime | None = None
    level: str = LEVELS[0]
    request_id: str = ""

    def has(self, line: LogLine) -> bool:
        """Whether a line is meant."""
        if self.since is not None and line.time < self.since:
            return False
        if self.request_id and not line.is_about(self.request_id):
            return False
        return line.level not in LEVELS or LEVELS.index(line.level) >= LEVELS.index(self.level)

    @property
    def reaches_back(self) -> bool:
        """Whether the end of each file is not enough."""
        return self.since is not None or bool(self.request_id)


def read_logs(folder: Path, names: Sequence[str], selection: Selection, most: int) -> list[LogLine]:
    """Returns the last lines that are meant, at most so many, in the order of their time."""
    found = [line for name in names for line in _of_process(folder, name, selection) if selection.has(line)]
    return sorted(found, key=lambda line: line.time)[-most:]  # stable: a traceback stays below its line


def _of_process(folder: Path, name: str, selection: Selection) -> Iterator[LogLine]:
    before: LogLine | None = None
    for text in _texts(folder / f"{name}.log", selection):
        before = parse(name, text, before)
        yield before


def _texts(path: Path, selection: Selection) -> Iterator[str]:
    if not selection.reaches_back:
        yield from _tail(path)
        return
    aside = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: one.stat().st_mtime)
    since = selection.since.timestamp() if selection.since else 0.0
    for file in (*aside, path):
        if file.exists() and file.stat().st_mtime >= since:
            with file.open(encoding="utf-8", errors="replace") as lines:
                yield from (line.rstrip("\n") for line in lines if line.strip())


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            begin = max(0, size - _TAIL_BYTES)
            file.seek(begin)
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines[1 if begin else 0 :] if line.strip()]
