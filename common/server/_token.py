"""How long the token of what is open is good: until it expires, or is revoked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import MallaError, TokenExpiredError, TokenRevokedError
from common.tasks import stop

log = logging.getLogger("malla.server")

_LOOK_S = 0.5


@dataclass(frozen=True)
class Token:
    """What the edge says of a caller's token.

    Attributes:
        token_id: `jti`; empty for a token without.
        expires_at: `exp`, in Unix seconds; None where the edge said nothing of it.
    """

    token_id: str = ""
    expires_at: float | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Token:
        """Reads the headers the edge set."""
        expires = headers.get("x-token-expires", "")
        return cls(headers.get("x-token-id", ""), float(expires) if expires.isdecimal() else None)


class Revocations:
    """The revoked tokens as the proxy's file has them, read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._ids: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        """Follows the file until cancelled; at once where there is no file to follow."""
        if self._path is None:
            return
        from common.identity import revoked_ids  # with the proxy's templates, which a server that follows nothing needs not

        seen: tuple[int, int] | None = None
        failure = ""
        while True:
            try:
                if (now := _version(self._path)) != seen:
                    seen, self._ids = now, revoked_ids(self._path)
                    self._changed.set()
                    self._changed = asyncio.Event()
                failure = ""
            except (OSError, ValueError, LookupError) as error:  # those known stay revoked
                if failure != (failure := type(error).__name__):
                    log.error("the revoked tokens cannot be read: %s", failure, extra={"path": str(self._path)})
            await asyncio.sleep(_LOOK_S)

    @asynccontextmanager
    async def holding(self, headers: Mapping[str, str]) -> AsyncIterator[None]:
        """Cuts the block once the token of these headers is revoked. One that expires lets it end: it was good when it began.

        Raises TokenRevokedError.
        """
        token_id, task = Token.of(headers).token_id, asyncio.current_task()
        if self._path is None or not token_id or task is None:
            yield
            return
        cut = False

        async def watch() -> None:
            nonlocal cut
            await self.end_of(Token(token_id))
            cut = True
            task.cancel()

        watching = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError:
            if cut and task.uncancel() == 0:  # by us, and by nobody else
                raise TokenRevokedError from None
            raise
        finally:
            await stop([watching])

    async def end_of(self, token: Token) -> MallaError:
        """Waits until a token is good no more, and returns why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if token.expires_at is None else token.expires_at - time.time()):
                while token.token_id not in self._ids:
                    await self._changed.wait()
                return TokenRevokedError()
        return TokenExpiredError()


def _version(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
