"""Durations as they are typed."""

from __future__ import annotations

import re
from datetime import timedelta

import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


_LONGEST = timedelta(days=36500)


def parse_ttl(text: str, option: str = "--ttl") -> timedelta:
    """Reads "90s", "30m", "24h", "7d" or plain seconds. Raises typer.BadParameter, naming the option, for anything else."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"'{text}' is no duration: use 90s, 30m, 24h or 7d", param_hint=option)
    seconds = int(match[1]) * _UNITS[match[2] or "s"]
    if seconds > _LONGEST.total_seconds():
        raise typer.BadParameter(f"'{text}' is too long: use at most {_LONGEST.days}d", param_hint=option)
    return timedelta(seconds=seconds)
