"""Writes what the containers share: the signing key, its public half, the compiled contract, the mesh key, the members'
certificates and the proxy's configuration. `malla token … --folder /etc/malla` lists and revokes tokens and rotates keys there,
`malla certs … --folder /etc/malla` does so with certificates.

Run: python -m common.setup --folder /etc/malla                   before the proxy starts; keeps keys that are there
     python -m common.setup --folder /etc/malla --token-for acme  prints a token for a tenant
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from common.certs import Authority, authority_folder, leaf_folder, renew_due
from common.context import Tier
from common.identity import write_identity
from common.issuer import IssuerSettings
from common.mtls import LEAF_CERT
from common.proxy import MEMBERS, ProxyConfig, ProxyTls, Tracing, render
from common.settings import DESCRIPTORS, MeshSettings
from common.tokens import KeyRing


def write_shared(folder: Path) -> None:
    """Writes the files under `folder`. The proxy must see them there, too, and its own certificate in /run/malla/tls."""
    folder.mkdir(parents=True, exist_ok=True)
    KeyRing.open(folder / "keys").write_jwks(folder / "jwks.json")
    shutil.copyfile(DESCRIPTORS, folder / DESCRIPTORS.name)
    domain = MeshSettings().trust_domain
    _certify(folder, domain)
    proxy = ProxyConfig.container().model_copy(
        update={
            "tls": ProxyTls(trust_domain=domain),
            "jwks_path": folder / "jwks.json",
            "descriptors_path": folder / DESCRIPTORS.name,
            "tracing": Tracing.configured(),
            "other_issuer": IssuerSettings().other_issuer(),
        }
    )
    write_identity(proxy, KeyRing.open(folder / "keys"))
    (folder / "envoy.yaml").write_text(render(proxy))


def _certify(folder: Path, trust_domain: str) -> None:
    """Makes the authority where there is none, a certificate for each member that has none, and new ones for old ones."""
    authority = Authority.init(authority_folder(folder), trust_domain)
    for member in MEMBERS:
        if not (leaf_folder(folder, member) / LEAF_CERT).exists():
            authority.issue(member, leaf_folder(folder, member))
    renew_due(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m common.setup", description="Writes what the containers share.")
    parser.add_argument("--folder", type=Path, required=True, help="where; a volume that the proxy mounts, too")
    parser.add_argument("--token-for", metavar="TENANT", help="print a token for this tenant instead")
    parser.add_argument("--tier", type=Tier, default=Tier.FREE, choices=list(Tier), help="of the token")
    parser.add_argument("--hours", type=float, default=24.0, help="the token is valid for")
    given = parser.parse_args(arguments)
    if given.token_for is None:
        write_shared(given.folder)
    else:
        keys = KeyRing.open(given.folder / "keys")
        token = keys.issue(tenant=given.token_for, tier=given.tier, ttl=timedelta(hours=given.hours))
        sys.stdout.write(token + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
