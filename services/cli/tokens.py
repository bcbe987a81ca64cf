"""The tokens of one mesh: where they are kept, and telling its proxy of a change."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt

from common.tokens import IssuedToken, KeyRing, RevokedToken
from services.cli.data_dir import settings_for
from services.cli.launcher.layout import Layout
from services.cli.launcher.state import read_state
from services.cli.output import CliError

_KNOWN_WITHIN_S = 10.0
_POLL_S = 0.05


@dataclass(frozen=True)
class TokenPlace:
    """Where a mesh keeps its keys.

    Attributes:
        keys: Folder of the signing keys.
        published: Folder that the proxy follows.
        edge_url: Of the proxy, where it runs on this machine; empty otherwise.
    """

    keys: Path
    published: Path
    edge_url: str = ""

    @classmethod
    def of(cls, data_dir: Path | None, folder: Path | None) -> TokenPlace:
        """Returns the place of a data dir, or of the folder that containers share."""
        if folder is not None:
            return cls(folder / "keys", folder)
        layout = Layout(settings_for(data_dir).home)
        state = read_state(layout.data_dir)
        running = state is not None and state.is_running
        return cls(layout.keys, layout.jwks.parent, state.edge_url if state is not None and running else "")

    def ring(self) -> KeyRing:
        """Returns the keys."""
        with self._readable():
            return KeyRing.open(self.keys)

    def revoke(self, tokens: list[RevokedToken]) -> None:
        """Revokes tokens. The record first: a proxy that starts later is told from it."""
        from common.identity import publish_revoked  # with the proxy's templates, which making a token does not need

        keys = self.ring()
        keys.book.revoke(tokens)
        publish_revoked(self.published, keys)

    def rotate(self, *, drop_old: bool) -> KeyRing:
        """Changes the keys, and returns once the proxy that runs here knows them. Raises CliError where it does not."""
        from common.identity import publish_keys

        with self._readable():
            keys = KeyRing.drop_old(self.keys) if drop_old else KeyRing.rotate(self.keys)
        publish_keys(self.published, keys)
        if self.edge_url:
            _wait_until_known(self.edge_url, keys)
        return keys

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            said = str(error).partition(".")[0]
            raise CliError(f"A key in {self.keys} is damaged ({said}). Put it back from a copy, or remove it.") from None

    def find(self, named: str) -> RevokedToken:
        """Returns the token of an id, or of the token itself. Raises CliError for one that is unknown or no token."""
        if "." in named:
            return _read(named)
        for token in self.ring().book.issued():
            if token.jti == named:
                return token
        raise CliError(f"No token here has the id '{named}'. See `malla token list`, or give the token itself.")

    def of_tenant(self, tenant: str) -> list[IssuedToken]:
        """Returns the tokens of a tenant. Raises CliError where there is none."""
        found = [token for token in self.ring().book.issued() if token.tenant == tenant]
        if not found:
            raise CliError(f"The tenant '{tenant}' has no token that is still good. See `malla token list`.")
        return found


def token_argument(given: str) -> str:
    """Returns what was given; "-" is read from standard input, which no list of processes shows."""
    return sys.stdin.readline().strip() if given == "-" else given


def _read(token: str) -> RevokedToken:
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return RevokedToken(jti=claims["jti"], expires_at=int(claims["exp"]))
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        raise CliError("That is no token with an id and an end. Give one from `malla token create`, or an id.") from None


def _wait_until_known(edge_url: str, keys: KeyRing) -> None:
    import httpx

    until = time.monotonic() + _KNOWN_WITHIN_S
    headers = {"authorization": f"Bearer {keys.probe()}"}
    while time.monotonic() < until:
        try:
            # Known keys and no tenant: forbidden. Unknown keys: unauthenticated.
            if httpx.get(f"{edge_url}/api/v1/collections", headers=headers).status_code == httpx.codes.FORBIDDEN:
                return
        except httpx.TransportError:
            pass
        time.sleep(_POLL_S)
    raise CliError("The keys are changed, but the running proxy does not take the new one. See `malla logs proxy`.")
