"""Signing keys, the tokens Envoy verifies (RFC 7519 signed with Ed25519, RFC 8037), and which of them are revoked.

All keys of a folder are published, the newest signs. A key is rotated by adding one and, once the last token of the old one has
expired, dropping the old one.

    keys = KeyRing.open(folder)
    token = keys.issue(tenant="default", tier=Tier.PRO, ttl=timedelta(hours=24))
    keys.book.revoke([...])

`common.identity` tells the proxy. Keys and tokens appear in no log, no `repr` and no message here.
"""

from common.tokens._book import IssuedToken, RevokedToken, TokenBook
from common.tokens._files import exclusive, write_whole
from common.tokens._keys import ALGORITHM, AUDIENCE, ISSUER, SCOPES, TENANT_PATTERN, KeyRing, SigningKey

__all__ = [
    "ALGORITHM",
    "AUDIENCE",
    "ISSUER",
    "SCOPES",
    "TENANT_PATTERN",
    "IssuedToken",
    "KeyRing",
    "RevokedToken",
    "SigningKey",
    "TokenBook",
    "exclusive",
    "write_whole",
]
