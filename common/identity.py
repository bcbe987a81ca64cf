"""What the proxy knows of tokens: the part of its configuration that changes while it runs.

Three files beside the public keys, which the proxy follows (it sees them moved into place, within milliseconds and without
draining a connection), and the mesh key, which it adds to every call it passes on:

    jwt_authn.json   how a token is verified: our keys, and those of another issuer (extension config discovery)
    revoked.json     ids of the tokens that are refused all the same (extension config discovery)
    mesh_key.json    where the mesh key is (secret discovery)
    mesh.key         the mesh key

Where the members of the mesh know each other by certificates, two more name the proxy's, which it follows too:

    mesh_tls.json    its own certificate (secret discovery)
    mesh_trust.json  who signs the members' (secret discovery)
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import InvalidArgumentError
from common.issuer import TokenIssuer
from common.proxy import ProxyConfig, ProxyTls
from common.tokens import KeyRing, write_whole

_JWT_FILTER = "envoy.filters.http.jwt_authn"
_OURS = "malla"
_TYPES = "type.googleapis.com/envoy"
_MESH_KEY_BYTES = 32

# Which headers tell the servers what a claim says; the edge removes all of them from what comes from outside.
_HEADERS = {"x-user-id": "sub", "x-token-id": "jti", "x-token-expires": "exp"}


def write_identity(proxy: ProxyConfig, keys: KeyRing) -> None:
    """Writes every file. Must be called before the proxy starts; makes the mesh key where there is none."""
    if not proxy.mesh_key_path.exists():
        write_whole(proxy.mesh_key_path, secrets.token_urlsafe(_MESH_KEY_BYTES), mode=0o600)
    write_whole(proxy.mesh_secret_path, _discovery(_mesh_secret(proxy)), mode=0o600)
    if proxy.tls is not None:
        write_whole(proxy.mesh_tls_path, _secret_discovery(_certificate(proxy.tls)))
        write_whole(proxy.mesh_trust_path, _secret_discovery(_authorities(proxy.tls)))
    keys.write_jwks(proxy.jwks_path)
    write_whole(proxy.jwt_path, _discovery(jwt_filter(proxy, keys.jwks())))
    publish_revoked(proxy.revoked_path.parent, keys)


def publish_keys(folder: Path, keys: KeyRing) -> None:
    """Tells the proxy which keys are ours now. `folder` is the one of its public keys; it may never have had a proxy."""
    keys.write_jwks(folder / "jwks.json")
    path = folder / "jwt_authn.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))["resources"][0]
        found["typed_config"]["providers"][_OURS]["local_jwks"] = _inline(keys.jwks())
        write_whole(path, _discovery(found))


def publish_revoked(folder: Path, keys: KeyRing) -> None:
    """Tells the proxy which tokens are revoked now."""
    keys.book.tidy()
    with keys.book.kept() as revoked:
        write_whole(folder / "revoked.json", _discovery(revoked_filter(revoked)))


def revoked_ids(path: Path) -> frozenset[str]:
    """Returns what `publish_revoked` wrote to a file; nothing where there is none."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["resources"][0]["typed_config"]
    except FileNotFoundError:
        return frozenset()
    return frozenset(config["matcher"]["matcher_tree"]["exact_match_map"]["map"]) if "matcher" in config else frozenset()


def jwt_filter(proxy: ProxyConfig, jwks: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the filter that verifies tokens and says in headers what they claim."""
    ours = TokenIssuer(issuer=proxy.issuer, audience=proxy.audience, jwks="")
    providers = {_OURS: _provider(_OURS, ours, {"local_jwks": _inline(jwks)})}
    if proxy.other_issuer is not None:
        providers["other"] = _provider("other", proxy.other_issuer, _keys_of(proxy.other_issuer))
    # A call without a valid token goes on to be counted by its address, and is refused next: `token` in envoy/edge.yaml.j2.
    either = [*({"provider_name": name} for name in providers), {"allow_missing_or_failed": {}}]
    return {
        "name": _JWT_FILTER,
        "typed_config": {
            "@type": f"{_TYPES}.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "bypass_cors_preflight": True,
            "providers": providers,
            "rules": [
                {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": either}}},
            ],
        },
    }


def _provider(name: str, issuer: TokenIssuer, jwks: Mapping[str, Any]) -> dict[str, Any]:
    claims = {
        "x-tenant-id": issuer.tenant_claim,
        "x-tier": issuer.tier_claim,
        "x-scope": issuer.scope_claim,
        **_HEADERS,
    }
    return {
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "require_expiration": True,
        "clock_skew_seconds": 30,
        **jwks,
        # From this header only: a token in a query string ends up in histories and logs.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": False,
        "failed_status_in_metadata": f"failed_{name}",  # why a token is refused
        "claim_to_headers": [{"header_name": header, "claim_name": claim} for header, claim in claims.items()],
    }


def _keys_of(issuer: TokenIssuer) -> dict[str, Any]:
    if not issuer.is_remote:
        return {"local_jwks": _inline(_read_jwks(Path(issuer.jwks)))}
    return {
        "remote_jwks": {
            "http_uri": {"uri": issuer.jwks, "cluster": "token_issuer", "timeout": "5s"},
            "cache_duration": "600s",
            # The mesh starts and serves its own tokens while the issuer cannot be reached.
            "async_fetch": {"fast_listener": True},
            "retry_policy": {"num_retries": 3},
        }
    }


def _read_jwks(path: Path) -> dict[str, Any]:
    try:
        jwks = json.loads(path.read_text(encoding="utf-8"))
        if jwks["keys"]:
            return dict(jwks)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise InvalidArgumentError([("MALLA_OIDC_JWKS", f"{path} is no file of public keys, a JSON Web Key Set")])


def _inline(jwks: Mapping[str, Any]) -> dict[str, str]:
    return {"inline_string": json.dumps(jwks)}


def revoked_filter(ids: Iterable[str]) -> dict[str, Any]:
    """Returns the filter that refuses tokens by their id: one look-up in a map, however many there are."""
    config: dict[str, Any] = {"@type": f"{_TYPES}.extensions.filters.http.rbac.v3.RBAC"}
    if refused := {jti: _action("token_revoked", "DENY") for jti in sorted(ids)}:
        config["matcher"] = {
            "matcher_tree": {
                "input": {
                    "name": "token_id",
                    "typed_config": {
                        "@type": f"{_TYPES}.type.matcher.v3.HttpRequestHeaderMatchInput",
                        "header_name": "x-token-id",
                    },
                },
                "exact_match_map": {"map": refused},
            },
            "on_no_match": _action("good", "ALLOW"),
        }
    return {"name": "revoked", "typed_config": config}


def _action(name: str, action: str) -> dict[str, Any]:
    typed = {"@type": f"{_TYPES}.config.rbac.v3.Action", "name": name, "action": action}
    return {"action": {"name": name, "typed_config": typed}}


def _mesh_secret(proxy: ProxyConfig) -> dict[str, Any]:
    return {
        "@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.Secret",
        "name": "mesh_key",
        "generic_secret": {"secret": {"filename": str(proxy.mesh_key_path)}},
    }


def _certificate(tls: ProxyTls) -> dict[str, Any]:
    chain, key = {"filename": str(tls.files.cert)}, {"filename": str(tls.files.key)}
    return {
        "name": "mesh_tls",
        "tls_certificate": {"certificate_chain": chain, "private_key": key, "watched_directory": {"path": str(tls.folder)}},
    }


def _authorities(tls: ProxyTls) -> dict[str, Any]:
    trusted = {"trusted_ca": {"filename": str(tls.files.ca)}, "watched_directory": {"path": str(tls.folder)}}
    return {"name": "mesh_trust", "validation_context": trusted}


def _secret_discovery(secret: Mapping[str, Any]) -> str:
    typed = {"@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.Secret", **secret}
    return json.dumps({"version_info": str(time.time_ns()), "resources": [typed]}, indent=1)


def _discovery(resource: Mapping[str, Any]) -> str:
    typed = {"@type": f"{_TYPES}.config.core.v3.TypedExtensionConfig", **resource}
    return json.dumps({"version_info": str(time.time_ns()), "resources": [typed]}, indent=1)
