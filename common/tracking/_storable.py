"""What a row of the ledger may hold.

A row that no database takes would stand in the outbox before all that come later, and rows that are written together would fail
together: so it is refused before it is among others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import bson
from bson.errors import BSONError

from common.tracking._types import LedgerRow

_MOST_TOKENS = 2**31 - 1
"""What the contract's counts hold; a larger one could be stored and never be listed."""

_MOST_BYTES = 64 * 1024


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns metadata as the outbox can keep it too, what is no plain value as text. Raises ValueError."""
    try:
        kept: dict[str, Any] = json.loads(json.dumps(dict(metadata), default=str, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise ValueError("the metadata of usage must be names and plain values") from None
    return kept


def storable(row: LedgerRow) -> LedgerRow:
    """Returns the row. Raises ValueError for one that cannot be stored, or could not be read again."""
    counts = (row.input_tokens, row.output_tokens, row.cached_tokens, row.total_tokens)
    if not all(0 <= count <= _MOST_TOKENS for count in counts):
        raise ValueError(f"counts of tokens must be from 0 to {_MOST_TOKENS}")
    try:
        size = len(bson.encode(row.model_dump()))
    except (BSONError, OverflowError, ValueError):
        raise ValueError("usage holds something that cannot be stored: half a character, or a number beyond 64 bits") from None
    if size > _MOST_BYTES:
        raise ValueError(f"usage of {size} bytes is too large; {_MOST_BYTES} are kept: shorten its metadata")
    return row
