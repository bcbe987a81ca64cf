"""One line of a log, whoever wrote it: our JSON, the proxy's access log, the proxy's and the database's own words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ACCESS = "access"
"""The log of the proxy's calls."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_PLAIN = re.compile(r"\[?(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]\d{3})\]?(?P<rest>.*)", re.DOTALL)
_LEVEL = re.compile(r"\b(debug|info|warning|error|critical)\b", re.IGNORECASE)
_SHOWN_ELSEWHERE = {"time", "level", "logger", "message", "exception", "stack"}


@dataclass(frozen=True)
class LogLine:
    """One line.

    Attributes:
        row: The fields of a line of JSON; empty for another.
    """

    process: str
    time: datetime
    level: str
    message: str
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def request_id(self) -> str:
        """The request it is about; empty for none."""
        return str(self.row.get("request_id") or "")

    def is_about(self, request_id: str) -> bool:
        """Whether it is of a request; a WebSocket's turns have the socket's id and a number."""
        own = self.request_id
        return own == request_id or (own.startswith(f"{request_id}-") and own.removeprefix(f"{request_id}-").isdecimal())

    def to_row(self) -> dict[str, Any]:
        """Returns it for machines."""
        known = {"time": self.time.isoformat(), "process": self.process, "level": self.level, "message": self.message}
        return {**self.row, **known}

    def __str__(self) -> str:
        """Returns it for people: what is not empty, and an exception below it."""
        fields = {name: value for name, value in self.row.items() if name not in _SHOWN_ELSEWHERE}
        shown = (f"{name}={value}" for name, value in fields.items() if value not in (None, "", "-"))
        head = f"{self.time:%H:%M:%S}.{self.time.microsecond // 1000:03} {self.process:<11} {self.level:<8} {self.message}"
        return "\n".join([" ".join([head.rstrip(), *shown]), *filter(None, (self.row.get("exception"), self.row.get("stack")))])


def parse(process: str, text: str, before: LogLine | None = None) -> LogLine:
    """Returns a line. One without a time, such as a line of a traceback, has that of the line before it."""
    try:
        row = json.loads(text) if text.startswith("{") else None
    except ValueError:
        row = None  # cut by a crash
    if isinstance(row, dict) and (time := _time(str(row.get("time", "")))) is not None:
        if process == ACCESS:
            return _call(row, time)
        return LogLine(process, time, str(row.get("level", "INFO")), str(row.get("message", "")), row)
    return _plain(process, text, before)


def _call(row: dict[str, Any], time: datetime) -> LogLine:
    status = row.get("status") or 0
    level = "ERROR" if status >= 500 else "WARNING" if status >= 400 else "INFO"
    said = f"{row.get('method')} {row.get('path')} {status} {row.get('duration_ms')} ms"
    return LogLine(ACCESS, time, level, said, row)


def _plain(process: str, text: str, before: LogLine | None) -> LogLine:
    found = _PLAIN.match(text)
    time = _time(found["time"].replace(",", "."), local=process == "database") if found else None
    if found is None or time is None:
        level = "ERROR" if text.startswith("Traceback") else before.level if before else "INFO"  # a start that failed
        return LogLine(process, before.time if before else _EARLIEST, level, text)
    named = _LEVEL.search(found["rest"][:80])
    return LogLine(process, time, named[1].upper() if named else "INFO", found["rest"].lstrip(" -"))


def _time(text: str, *, local: bool = False) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is None:
        return time.astimezone(UTC) if local else time.replace(tzinfo=UTC)
    return time
