"""Identifiers."""

from __future__ import annotations

import uuid


def new_uid() -> str:
    """Returns an identifier nothing else has."""
    return uuid.uuid4().hex
