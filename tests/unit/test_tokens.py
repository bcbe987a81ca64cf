"""Signing keys and tokens."""

from __future__ import annotations

import base64
import json
import stat
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from common.context import Tier
from common.errors import InvalidArgumentError
from common.proxy import TENANT_PATTERN as EDGE_PATTERN
from common.tokens import AUDIENCE, ISSUER, TENANT_PATTERN, KeyRing, SigningKey


def claims_of(token, ring):
    keys = jwt.PyJWKSet.from_dict(ring.jwks())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER)


def test_a_key_is_made_once_and_is_its_owners_only(tmp_path):
    folder = tmp_path / "keys"
    ring = KeyRing.open(folder)
    [file] = folder.glob("*.key.pem")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert KeyRing.open(folder).jwks() == ring.jwks()
    assert len(list(folder.glob("*.key.pem"))) == 1


def test_the_claims_say_who_for_how_long_and_what_for(tmp_path):
    ring = KeyRing.open(tmp_path)
    token = ring.issue(
        tenant="acme", tier=Tier.PRO, ttl=timedelta(minutes=5), scopes=["read", "write"], subject="ana@acme.example"
    )
    claims = claims_of(token, ring)
    assert (claims["tenant"], claims["tier"], claims["scope"], claims["sub"]) == (
        "acme",
        "pro",
        "read write",
        "ana@acme.example",
    )
    assert claims["exp"] - claims["iat"] == 300
    assert abs(datetime.now(UTC).timestamp() - claims["iat"]) < 10


def test_without_a_word_on_scopes_a_token_has_all_and_with_none_it_has_none(tmp_path):
    ring = KeyRing.open(tmp_path)
    assert "scope" not in claims_of(ring.issue(tenant="acme", scopes=()), ring)
    claims = claims_of(ring.issue(tenant="acme"), ring)
    assert claims["scope"] == "read write chat admin"
    assert (claims["sub"], claims["tier"]) == ("acme", "free")


def test_two_tokens_differ(tmp_path):
    ring = KeyRing.open(tmp_path)
    assert claims_of(ring.issue(tenant="a"), ring)["jti"] != claims_of(ring.issue(tenant="a"), ring)["jti"]


def test_the_jwks_file_holds_public_halves_only(tmp_path):
    ring = KeyRing.open(tmp_path)
    ring.write_jwks(tmp_path / "jwks.json")
    [key] = json.loads((tmp_path / "jwks.json").read_text())["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    assert len(base64.urlsafe_b64decode(key["x"] + "=")) == 32
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".jwks")] == []


def test_a_second_key_signs_while_tokens_of_the_first_stay_good(tmp_path):
    old = KeyRing.open(tmp_path)
    token = old.issue(tenant="acme")
    KeyRing.open(tmp_path / "other")
    [other] = (tmp_path / "other").glob("*.key.pem")
    other.rename(tmp_path / f"9{other.name[1:]}")
    both = KeyRing.open(tmp_path)
    assert len(both.jwks()["keys"]) == 2
    assert claims_of(token, both)["tenant"] == "acme"
    assert jwt.get_unverified_header(both.issue(tenant="acme"))["kid"] != jwt.get_unverified_header(token)["kid"]


def test_the_key_id_is_the_thumbprint_of_rfc_8037(monkeypatch):
    # RFC 8037, appendices A.1 and A.3.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = SigningKey.of(Ed25519PrivateKey.from_private_bytes(seed))
    assert key.jwk()["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_no_private_key_is_in_a_repr(tmp_path):
    ring = KeyRing.open(tmp_path)
    assert "rivate" not in repr(ring)


@pytest.mark.parametrize("tenant", ["", "Acme", "a b", "-a", "a" * 65, "a\n", "ü"])
def test_a_malformed_tenant_is_refused(tmp_path, tenant):
    with pytest.raises(InvalidArgumentError, match="tenant"):
        KeyRing.open(tmp_path).issue(tenant=tenant)


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1)])
def test_a_token_that_is_never_good_is_refused(tmp_path, ttl):
    with pytest.raises(InvalidArgumentError, match="ttl"):
        KeyRing.open(tmp_path).issue(tenant="a", ttl=ttl)


@pytest.mark.parametrize("scope", ["", "two words", "wirte", "mesh", "unspecified"])
def test_a_scope_is_one_of_four(tmp_path, scope):
    with pytest.raises(InvalidArgumentError, match="scope"):
        KeyRing.open(tmp_path).issue(tenant="a", scopes=[scope])


def test_the_edge_knows_tenants_by_the_same_pattern():
    assert TENANT_PATTERN == EDGE_PATTERN
