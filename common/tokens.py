"""Signing keys and the tokens Envoy verifies (RFC 7519 signed with Ed25519, RFC 8037).

A key folder holds one file a private key, named after when it was made and its key id. All of them are published, the newest
signs: a key is rotated by adding a file and, once the last token of the old one has expired, deleting the old file.

    keys = KeyRing.open(folder)
    keys.write_jwks(folder / "jwks.json")
    token = keys.issue(tenant="default", tier=Tier.PRO, ttl=timedelta(hours=24))

Keys and tokens appear in no log, no `repr` and no message here.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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

ISSUER = "malla"
"""`iss` of every token."""

AUDIENCE = "malla"
"""`aud` of every token."""

ALGORITHM = "EdDSA"

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
    """The live keys of one mesh, oldest first; the last one signs."""

    keys: tuple[SigningKey, ...]

    @classmethod
    def open(cls, folder: Path) -> KeyRing:
        """Reads the keys of a folder, and makes the first one if there is none.

        Two processes may do so at once: one makes the key, the other reads it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _exclusive(folder):
            files = sorted(folder.glob(f"*{_SUFFIX}"))
            if not files:
                files = [_write_key(folder, SigningKey.of(Ed25519PrivateKey.generate()))]
        return cls(tuple(_read_key(file) for file in files))

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Returns the public keys (RFC 7517)."""
        return {"keys": [key.jwk() for key in self.keys]}

    def write_jwks(self, path: Path) -> None:
        """Writes the public keys to a file in one step, so that a reader never sees half of it."""
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        partial.write_text(json.dumps(self.jwks(), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)

    def issue(
        self,
        *,
        tenant: str,
        tier: Tier = Tier.FREE,
        ttl: timedelta = timedelta(hours=1),
        scopes: Iterable[str] = (),
        subject: str = "",
    ) -> str:
        """Returns a token.

        Args:
            tenant: Whose data it opens.
            tier: What the tenant has paid for.
            ttl: How long it is good for.
            scopes: What it is good for; none for everything the tenant may do.
            subject: Who holds it; the tenant where nobody is named.

        Raises:
            InvalidArgumentError: The tenant's name is malformed, a scope has a space, or `ttl` is not positive.
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
        key = self.keys[-1]
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})


def _check(tenant: str, ttl: timedelta, scopes: tuple[str, ...]) -> None:
    violations = []
    if not re.fullmatch(TENANT_PATTERN, tenant):
        rule = "use 1 to 64 of lower-case letters, digits, '-' and '_', beginning with a letter or digit"
        violations.append(("tenant", rule))
    if ttl <= timedelta(0):
        violations.append(("ttl", "must be longer than nothing"))
    if any(not scope or " " in scope for scope in scopes):
        violations.append(("scopes", "a scope is one word"))
    if violations:
        raise InvalidArgumentError(violations)


def _write_key(folder: Path, key: SigningKey) -> Path:
    path = folder / f"{time.time_ns():020d}-{key.kid}{_SUFFIX}"
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    partial = folder / f".{path.name}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(descriptor)
    return partial.rename(path)


def _read_key(path: Path) -> SigningKey:
    private = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise TypeError(f"{path.name} holds no Ed25519 key")
    return SigningKey.of(private)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _public_x(private: Ed25519PrivateKey) -> str:
    return _base64url(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
