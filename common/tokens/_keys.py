"""The signing keys of one folder: one file a private key, named after when it was made and its key id."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from common.context import Tier
from common.errors import InvalidArgumentError
from common.tokens._book import IssuedToken, TokenBook
from common.tokens._files import exclusive, write_whole

ISSUER = "malla"
"""`iss` of every token."""

AUDIENCE = "malla"
"""`aud` of every token."""

ALGORITHM = "EdDSA"

SCOPES = ("read", "write", "chat", "admin")
"""What a token can be good for (malla/common/v1/scope.proto; a test keeps the two equal)."""

# The edge compares the tenant with the same pattern (common.proxy.TENANT_PATTERN; a test keeps the two equal).
TENANT_PATTERN = "[a-z0-9][a-z0-9_-]{0,63}"
"""What a tenant may be called; matched as a whole."""

_SUFFIX = ".key.pem"


@dataclass(frozen=True)
class SigningKey:
    """One private key.

    Attributes:
        kid: Names the key in a token's header: the RFC 7638 thumbprint of its public half.
    """

    kid: str
    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> SigningKey:
        """Returns the key with its id."""
        canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": _public_x(private)}, separators=(",", ":"), sort_keys=True)
        return cls(kid=_base64url(hashlib.sha256(canonical.encode()).digest()), private=private)

    def jwk(self) -> dict[str, str]:
        """Returns the public half (RFC 8037)."""
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": _public_x(self.private),
            "kid": self.kid,
            "alg": ALGORITHM,
            "use": "sig",
        }


@dataclass(frozen=True)
class KeyRing:
    """The live keys of one mesh, oldest first; the last one signs.

    Attributes:
        book: Remembers what is issued.
    """

    keys: tuple[SigningKey, ...]
    book: TokenBook

    @classmethod
    def open(cls, folder: Path) -> KeyRing:
        """Reads the keys of a folder, and makes the first one if there is none.

        Two processes may do so at once: one makes the key, the other reads it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with exclusive(folder):
            files = _files(folder) or [_write_key(folder, _new_key())]
            return cls(tuple(_read_key(file) for file in files), TokenBook(folder))

    @classmethod
    def rotate(cls, folder: Path) -> KeyRing:
        """Adds a key, which signs from now on; tokens of the others stay good. Publish the keys afterwards."""
        with exclusive(folder):
            _write_key(folder, _new_key())
        return cls.open(folder)

    @classmethod
    def drop_old(cls, folder: Path) -> KeyRing:
        """Removes every key but the newest; the only one for a new one. Once that is published, their tokens open nothing."""
        with exclusive(folder):
            old = _files(folder)[:-1] or _files(folder)
            if old == _files(folder):
                _write_key(folder, _new_key())
            for file in old:
                file.unlink()
        return cls.open(folder)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Returns the public keys (RFC 7517)."""
        return {"keys": [key.jwk() for key in self.keys]}

    def write_jwks(self, path: Path) -> None:
        """Writes the public keys to a file in one step, so that a reader never sees half of it."""
        write_whole(path, json.dumps(self.jwks(), indent=2) + "\n")

    def probe(self) -> str:
        """Returns a token for asking whether a proxy knows the newest key: it names no tenant, so it opens nothing anywhere."""
        return self._signed({"iss": ISSUER, "aud": AUDIENCE, "exp": datetime.now(UTC) + timedelta(minutes=1)})

    def _signed(self, claims: dict[str, Any]) -> str:
        key = self.keys[-1]
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})

    def issue(
        self,
        *,
        tenant: str,
        tier: Tier = Tier.FREE,
        ttl: timedelta = timedelta(hours=1),
        scopes: Iterable[str] = SCOPES,
        subject: str = "",
    ) -> str:
        """Returns a token, and remembers it; what is remembered opens nothing.

        Args:
            tenant: Whose data it opens.
            tier: What the tenant has paid for.
            ttl: How long it is good for.
            scopes: What it is good for; one that names none opens nothing.
            subject: Who holds it; the tenant where nobody is named.

        Raises:
            InvalidArgumentError: The tenant's name is malformed, a scope is unknown, or `ttl` is not positive.
        """
        named = tuple(scopes)
        _check(tenant, ttl, named)
        now = datetime.now(UTC)
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject or tenant,
            "iat": now,
            "exp": now + ttl,
            "jti": uuid.uuid4().hex,
            "tenant": tenant,
            "tier": tier.value,
        }
        if named:
            claims["scope"] = " ".join(named)
        self.book.remember(
            IssuedToken(
                jti=claims["jti"],
                tenant=tenant,
                tier=tier,
                scopes=named,
                subject=claims["sub"],
                kid=self.keys[-1].kid,
                issued_at=int(now.timestamp()),
                expires_at=int(claims["exp"].timestamp()),
            )
        )
        return self._signed(claims)


def _check(tenant: str, ttl: timedelta, scopes: tuple[str, ...]) -> None:
    violations = []
    if not re.fullmatch(TENANT_PATTERN, tenant):
        rule = "use 1 to 64 of lower-case letters, digits, '-' and '_', beginning with a letter or digit"
        violations.append(("tenant", rule))
    if ttl <= timedelta(0):
        violations.append(("ttl", "must be longer than nothing"))
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        violations.append(("scopes", f"'{unknown[0]}' is no scope; use {', '.join(SCOPES)}"))
    if violations:
        raise InvalidArgumentError(violations)


def _write_key(folder: Path, key: SigningKey) -> Path:
    path = folder / f"{time.time_ns():020d}-{key.kid}{_SUFFIX}"
    write_whole(path, key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), mode=0o600)
    return path


def _new_key() -> SigningKey:
    return SigningKey.of(Ed25519PrivateKey.generate())


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _read_key(path: Path) -> SigningKey:
    private = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise TypeError(f"{path.name} holds no Ed25519 key")
    return SigningKey.of(private)


def _public_x(private: Ed25519PrivateKey) -> str:
    return _base64url(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
