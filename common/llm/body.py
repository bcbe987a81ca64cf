"""Reading the body of an SDK's response with as little between the socket and us as there can be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

ReadBody = Callable[[], Awaitable[bytes]]
"""Returns what has come, waiting for some; empty at the end."""


def read_body(response: Any) -> ReadBody:
    """Returns the reader of an httpx response that was begun as a stream.

    Where aiohttp carries it uncompressed, aiohttp's own reader: httpx' four generators cost as much for each token as parsing
    it. They are read where anything about the response is not as known.
    """
    if not response.headers.get("content-encoding"):
        carried = getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
        read = getattr(getattr(carried, "content", None), "readany", None)
        if read is not None:
            return read  # type: ignore[no-any-return]
    chunks: AsyncIterator[bytes] = response.aiter_bytes()

    async def next_chunk() -> bytes:
        # An empty chunk in the middle is not the end.
        async for chunk in chunks:
            if chunk:
                return chunk
        return b""

    return next_chunk
