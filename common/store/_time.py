"""Time as it is stored: whole milliseconds since the epoch, which every MongoDB-compatible server keeps and compares alike."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Returns the time now in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def to_datetime(milliseconds: int) -> datetime:
    """Returns a stored time as an aware datetime."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
