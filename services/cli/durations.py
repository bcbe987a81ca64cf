"""Durations as they are typed."""

from __future__ import annotations

import re
from datetime import timedelta

import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_ttl(text: str) -> timedelta:
    """Reads "90s", "30m", "24h", "7d" or plain seconds. Raises typer.BadParameter for anything else."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"'{text}' is no duration: use 90s, 30m, 24h or 7d", param_hint="--ttl")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2] or "s"])
