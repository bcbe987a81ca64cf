"""Follows `next_page_token` (AIP-158)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar


class Page(Protocol):
    """A response that says where the next one begins."""

    next_page_token: str


P = TypeVar("P", bound=Page)


async def pages(fetch: Callable[[str], Awaitable[P]]) -> AsyncGenerator[P, None]:
    """Yields what `fetch` returns for the empty token, then for each next one, until there is none."""
    token = ""
    while True:
        page = await fetch(token)
        yield page
        token = page.next_page_token
        if not token:
            return
