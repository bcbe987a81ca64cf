"""Opaque page tokens (AIP-158): the last identifier of a page, so that pages stay right while rows come and go."""

from __future__ import annotations

import base64
import binascii

from common.errors import InvalidArgumentError

DEFAULT_PAGE_SIZE = 50


def to_page_token(last_id: str) -> str:
    """Returns the token that asks for what follows `last_id`."""
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def from_page_token(token: str) -> str:
    """Returns the identifier a page begins after; "" for the first page. Raises InvalidArgumentError for a foreign token."""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise InvalidArgumentError([("page_token", "must be the next_page_token of an earlier page")]) from error
