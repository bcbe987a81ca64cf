"""What a socket has been sent and not been answered yet, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from malla.chat.v1 import chat_pb2

from common.errors import MallaError, OverloadedError

Entry = chat_pb2.ChatRequest | MallaError
"""A turn to run, or why a frame is none."""

_RETRY_AFTER_S = 1.0


@dataclass
class _Refused:
    """Frames in a row that found the inbox full: a number, so that a flood takes no memory."""

    count: int = 0


class Inbox:
    """Entries in the order of their frames.

    Every frame gets one answer, in order, also the one that is refused: an error event between another turn's deltas would look
    like that turn's end.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = 0
        self._entries: deque[Entry | _Refused] = deque()
        self._changed = asyncio.Event()
        self.closed = False

    def put(self, entry: Entry) -> None:
        """Takes an entry; one beyond the limit becomes an OverloadedError in its place."""
        if self.closed:
            return
        if self._waiting < self._most:
            self._entries.append(entry)
            self._waiting += 1
        else:
            self._refuse()
        self._changed.set()

    def _refuse(self) -> None:
        last = self._entries[-1] if self._entries else None
        if not isinstance(last, _Refused):
            last = _Refused()
            self._entries.append(last)
        last.count += 1

    async def get(self) -> Entry | None:
        """Waits for the next entry, and takes it out. None once the inbox is closed."""
        while not self._entries and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        if self.closed:
            return None
        first = self._entries[0]
        if isinstance(first, _Refused):
            return self._refusal(first)
        self._entries.popleft()
        self._waiting -= 1
        return first

    def _refusal(self, refused: _Refused) -> OverloadedError:
        refused.count -= 1
        if refused.count == 0:
            self._entries.popleft()
        return OverloadedError("message", retry_after_s=_RETRY_AFTER_S)

    def close(self) -> None:
        """Forgets what waits; nothing more is taken or given."""
        self.closed = True
        self._entries.clear()
        self._changed.set()
