"""One open socket: reads at once, answers one turn after another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from starlette.websockets import WebSocket, WebSocketDisconnect

from common.errors import InvalidArgumentError, MallaError, TokenRevokedError
from common.server import Revocations
from services.gateway.chat.frames import error_text, parse_message
from services.gateway.chat.inbox import Entry, Inbox
from services.gateway.chat.turns import Caller, Turns

log = logging.getLogger("malla.chat")

GOING_AWAY = 1001
UNAUTHORIZED = 4401
"""The token is good no more; as HTTP's 401, in the range that applications may use (RFC 6455, 7.4.2)."""
INTERNAL_ERROR = 1011
_CLOSE_S = 1.0
_DEAD = (WebSocketDisconnect, TimeoutError)


class ChatSocket:
    """Carries the turns of one conversation until the client leaves, its token is good no more, or the gateway drains.

    Three tasks: one always reads and never writes, so that a client that leaves is noticed at once; one runs the turns, and
    alone writes; one waits for the token's end.
    """

    def __init__(
        self,
        websocket: WebSocket,
        turns: Turns,
        caller: Caller,
        conversation: tuple[str, int],
        revocations: Revocations,
        *,
        queue: int,
        send_timeout_s: float,
    ) -> None:
        self._websocket = websocket
        self._turns = turns
        self._caller = caller
        self._conversation = conversation
        self._revocations = revocations
        self._inbox = Inbox(queue)
        self._send_timeout_s = send_timeout_s
        self._worker: asyncio.Task[None] | None = None
        self._token_ended: MallaError | None = None
        self._sent = 0  # events of the turn

    async def serve(self) -> None:
        """Runs until the socket is done. A client that leaves cancels its turn."""
        reader = asyncio.create_task(self._read())
        self._worker = asyncio.create_task(self._answer())
        watcher = asyncio.create_task(self._end_with_token())
        try:
            done, _ = await asyncio.wait({reader, self._worker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            self._worker.cancel()
            watcher.cancel()
            await asyncio.gather(reader, self._worker, watcher, return_exceptions=True)
        await self._close(_failure_of(done), left=reader in done)

    def drain(self) -> None:
        """Lets the running turn end, and begins no other."""
        self._inbox.close()

    def cut(self) -> None:
        """Ends the running turn now."""
        if self._worker is not None:
            self._worker.cancel()

    async def _end_with_token(self) -> None:
        """Once the token has expired, lets the turn end that began before; once it is revoked, does not."""
        self._token_ended = await self._revocations.end_of(self._caller.token)
        if isinstance(self._token_ended, TokenRevokedError):
            self.cut()
        else:
            self.drain()

    async def _read(self) -> None:
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            self._inbox.put(self._entry(message.get("text")))

    def _entry(self, text: str | None) -> Entry:
        try:
            if text is None:
                raise InvalidArgumentError([("", "the frame is binary; send text frames of JSON")])
            return parse_message(text, *self._conversation)
        except MallaError as error:
            return error

    async def _answer(self) -> None:
        number = 0
        while (entry := await self._inbox.get()) is not None:
            number += 1
            self._sent = 0
            if isinstance(entry, MallaError):
                await self._send(error_text(entry, 1))
            else:
                with self._caller.span(number):
                    await self._turns.run(entry, self._caller.context(number), self._caller, self._send)
            self._sent = 0

    async def _send(self, text: str) -> None:
        """Sends a frame when there is room for it. Raises TimeoutError for a client that reads nothing for too long."""
        async with asyncio.timeout(self._send_timeout_s):
            await self._websocket.send({"type": "websocket.send", "text": text})
        self._sent += 1

    async def _close(self, failure: BaseException | None, *, left: bool) -> None:
        if isinstance(failure, _DEAD) or (left and failure is None):
            return  # nobody would read a goodbye
        if failure is not None:
            log.error("a socket failed", exc_info=failure)
        with contextlib.suppress(*_DEAD):
            async with asyncio.timeout(_CLOSE_S):
                if self._token_ended is not None:
                    await self._send(error_text(self._token_ended, self._sent + 1))
                    await self._websocket.close(UNAUTHORIZED)
                else:
                    await self._websocket.close(GOING_AWAY if failure is None else INTERNAL_ERROR)


def _failure_of(tasks: Iterable[asyncio.Task[None]]) -> BaseException | None:
    """Returns what a finished task raised; a task that was cut raised nothing."""
    failures = (task.exception() for task in tasks if not task.cancelled())
    return next((failure for failure in failures if failure is not None), None)
