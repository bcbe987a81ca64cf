"""Opaque page tokens (AIP-158): the last identifier of a page, so that pages stay right while rows come and go; and pages that
are no larger than a message may be."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from pydantic import BaseModel

from common.errors import InvalidArgumentError

DEFAULT_PAGE_SIZE = 50

# gRPC's usual limit of a message is 4 MiB. Rows are measured as JSON, which takes a little more than Protobuf.
_MOST_BYTES = 3 * 1024 * 1024
_ROWS_A_TRIP = 100

T = TypeVar("T", bound=BaseModel)


async def filled(read: Callable[[T | None, int], AsyncIterator[T]], size: int) -> tuple[list[T], bool]:
    """Returns at most `size` rows, fewer where they would not fit in a message but one at least, and whether there are more.

    Args:
        read: Given a row, or None for the beginning, yields at most so many of those that follow it.
        size: How many were asked for.
    """
    found: list[T] = []
    taken = 0
    while True:
        wanted = min(_ROWS_A_TRIP, size + 1 - len(found))
        rows = [row async for row in read(found[-1] if found else None, wanted)]
        for row in rows:
            taken += len(row.model_dump_json().encode())
            if len(found) == size or (found and taken > _MOST_BYTES):
                return found, True
            found.append(row)
        if len(rows) < wanted:
            return found, False


def to_page_token(last_id: str) -> str:
    """Returns the token that asks for what follows `last_id`."""
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def from_page_token(token: str) -> str:
    """Returns the identifier a page begins after; "" for the first page. Raises InvalidArgumentError for a foreign token."""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise InvalidArgumentError([("page_token", "must be the next_page_token of an earlier page")]) from error
