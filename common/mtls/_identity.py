"""Names of the mesh's members (https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROXY = "proxy"
"""The one member that servers take calls from."""

OPERATOR = "operator"
"""Whoever debugs the mesh, with grpcurl for example."""

LEAF_CERT, LEAF_KEY, LEAF_CA = "tls.crt", "tls.key", "ca.crt"
"""Names of a member's files in its folder: Kubernetes calls them so, too."""


@dataclass(frozen=True)
class MeshTls:
    """A member's own certificate, and whom it believes.

    Attributes:
        cert: Certificate, PEM.
        key: Its private key, PEM.
        ca: The authorities of the mesh, PEM.
        trust_domain: Of every member's id.
    """

    cert: Path
    key: Path
    ca: Path
    trust_domain: str

    @classmethod
    def of(cls, folder: Path, trust_domain: str) -> MeshTls:
        """Returns what a folder of `malla certs issue` holds."""
        return cls(folder / LEAF_CERT, folder / LEAF_KEY, folder / LEAF_CA, trust_domain)

    def id_of(self, member: str) -> str:
        """Returns a member's SPIFFE id."""
        return spiffe_id(self.trust_domain, member)

    def name_of(self, member: str) -> str:
        """Returns the DNS name in a member's certificate, for TLS libraries that know no SPIFFE ids."""
        return dns_name(self.trust_domain, member)


def spiffe_id(trust_domain: str, member: str) -> str:
    """Returns a member's SPIFFE id."""
    return f"spiffe://{trust_domain}/malla/{member}"


def dns_name(trust_domain: str, member: str) -> str:
    """Returns the DNS name that only this member's certificate bears; it need not resolve."""
    return f"{member}.{trust_domain}"
