"""What was issued and what was revoked, over crashes, clocks and several hands."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from common.errors import InvalidArgumentError
from common.identity import jwt_filter, publish_revoked, revoked_filter, revoked_ids
from common.issuer import IssuerSettings, TokenIssuer
from common.proxy import ProxyConfig
from common.tokens import KeyRing, RevokedToken, TokenBook
from common.tokens._book import CLOCK_SKEW_S


def revoked(jti: str, left_s: int = 60) -> RevokedToken:
    return RevokedToken(jti=jti, expires_at=int(time.time()) + left_s)


def test_its_files_are_their_owners_only(tmp_path: Path) -> None:
    keys = KeyRing.open(tmp_path)
    keys.issue(tenant="acme")
    keys.book.revoke([revoked("a")])
    for name in ("issued.jsonl", "revoked.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_what_has_expired_is_forgotten(tmp_path: Path) -> None:
    book = TokenBook(tmp_path)
    book.revoke([revoked("old", -CLOCK_SKEW_S - 1), revoked("as good as old", 5 - CLOCK_SKEW_S), revoked("new")])
    assert book.revoked() == {"as good as old", "new"}  # the proxy's clock may be behind
    book.tidy()
    assert len((tmp_path / "revoked.jsonl").read_text().splitlines()) == 2


def test_a_line_cut_off_by_a_crash_is_no_harm(tmp_path: Path) -> None:
    keys = KeyRing.open(tmp_path)
    keys.issue(tenant="acme", ttl=timedelta(hours=1))
    with (tmp_path / "issued.jsonl").open("a") as file:
        file.write('{"jti": "half')
    assert [token.tenant for token in keys.book.issued()] == ["acme"]


def test_many_hands(tmp_path: Path) -> None:
    keys = KeyRing.open(tmp_path / "keys")

    def act(number: int) -> None:
        keys.issue(tenant="acme")
        keys.book.revoke([revoked(str(number))])
        publish_revoked(tmp_path, keys)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(24)))
    assert len(keys.book.issued()) == 24
    assert revoked_ids(tmp_path / "revoked.json") == keys.book.revoked() == {str(number) for number in range(24)}


def test_nobody_revoked_is_a_filter_that_lets_pass(tmp_path: Path) -> None:
    assert set(revoked_filter([])["typed_config"]) == {"@type"}
    assert revoked_ids(tmp_path / "none.json") == frozenset()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": []}', None])
def test_another_issuer_needs_its_keys(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "jwks.json"
    if text is not None:
        path.write_text(text)
    other = TokenIssuer(issuer="https://id.example", audience="malla", jwks=str(path))
    with pytest.raises(InvalidArgumentError, match="MALLA_OIDC_JWKS"):
        jwt_filter(ProxyConfig.container().model_copy(update={"other_issuer": other}), {"keys": []})


def test_another_issuer_by_settings() -> None:
    assert IssuerSettings(_env_file=None).other_issuer() is None
    settings = IssuerSettings(_env_file=None, oidc_issuer="https://id.example", oidc_jwks="https://id.example/keys")
    other = settings.other_issuer()
    assert other is not None
    assert (other.host, other.port, other.is_remote, other.is_tls) == ("id.example", 443, True, True)
    with pytest.raises(InvalidArgumentError, match="MALLA_OIDC_JWKS"):
        IssuerSettings(_env_file=None, oidc_issuer="https://id.example").other_issuer()
