"""What was issued and what was revoked: never a token itself, only what it is known by."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from common.context import Tier
from common.models import BaseModel
from common.tokens._files import exclusive, write_whole

# The proxy goes on taking a token for so long after it has expired, for clocks that differ.
CLOCK_SKEW_S = 30


class RevokedToken(BaseModel):
    """A token that is good no more.

    Attributes:
        jti: Its id.
        expires_at: When it would have expired, in Unix seconds.
    """

    jti: str
    expires_at: int


class IssuedToken(RevokedToken):
    """A token that was made here.

    Attributes:
        kid: The key that signed it.
        issued_at: When, in Unix seconds.
    """

    tenant: str
    tier: Tier
    scopes: tuple[str, ...]
    subject: str
    kid: str
    issued_at: int


R = TypeVar("R", bound=RevokedToken)


class TokenBook:
    """The tokens of one key folder, in two files of JSON lines. What has expired is forgotten."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._issued = folder / "issued.jsonl"
        self._revoked = folder / "revoked.jsonl"

    def remember(self, token: IssuedToken) -> None:
        """Notes a token."""
        with exclusive(self._folder):
            self._issued.touch(mode=0o600)
            with self._issued.open("a", encoding="utf-8") as file:
                file.writelines(_lines([token]))

    def issued(self) -> list[IssuedToken]:
        """Returns the tokens that have not expired, oldest first."""
        return list(_living(self._issued, IssuedToken))

    def revoked(self) -> frozenset[str]:
        """Returns the ids of the tokens that are revoked and have not expired."""
        return frozenset(token.jti for token in _living(self._revoked, RevokedToken))

    def revoke(self, tokens: Iterable[RevokedToken]) -> None:
        """Revokes tokens for as long as they would have been good. Revoking one again changes nothing."""
        with exclusive(self._folder):
            known = {token.jti: token for token in (*_living(self._revoked, RevokedToken), *tokens)}
            write_whole(self._revoked, "".join(_lines(known.values())), mode=0o600)

    @contextlib.contextmanager
    def kept(self) -> Iterator[frozenset[str]]:
        """Yields what `revoked` returns, and lets nobody revoke until the block ends."""
        with exclusive(self._folder):
            yield self.revoked()

    def tidy(self) -> None:
        """Forgets what has expired."""
        with exclusive(self._folder):
            for path, kind in ((self._issued, IssuedToken), (self._revoked, RevokedToken)):
                if path.exists():
                    write_whole(path, "".join(_lines(_living(path, kind))), mode=0o600)


def _lines(tokens: Iterable[RevokedToken]) -> Iterator[str]:
    return (f"{token.model_dump_json()}\n" for token in tokens)


def _living(path: Path, kind: type[R]) -> Iterator[R]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValidationError):  # cut off by a crash; that token was never handed out
            token = kind.model_validate_json(line)
            if token.expires_at + CLOCK_SKEW_S > time.time():
                yield token
