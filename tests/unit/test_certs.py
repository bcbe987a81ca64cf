"""The mesh's certificates: made, listed, renewed; read by those who use them, half replaced or not."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from pydantic import ValidationError

from common.certs import LEAF_LIFETIME, Authority, authority_folder, issued_in, leaf_folder, renew_due
from common.errors import InvalidArgumentError, NotFoundError
from common.mtls import FollowedFiles, MeshTls
from common.proxy import MAY_CALL, MEMBERS, UPSTREAMS
from common.settings import MeshSettings

DOMAIN = "malla.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.init(authority_folder(tmp_path), DOMAIN)


@pytest.fixture
def malla(told_by_malla, tmp_path):
    return lambda *arguments, status=0: told_by_malla("certs", *arguments, "--folder", str(tmp_path / "etc"), status=status)


def leaf(tmp_path: Path, member: str = "query") -> MeshTls:
    return MeshTls.of(leaf_folder(tmp_path, member), DOMAIN)


def certificate(tls: MeshTls) -> x509.Certificate:
    return x509.load_pem_x509_certificate(tls.cert.read_bytes())


def test_a_certificate_is_a_spiffe_one(authority: Authority, tmp_path: Path) -> None:
    made = authority.issue("query", leaf_folder(tmp_path, "query"))
    found = certificate(leaf(tmp_path))
    found.verify_directly_issued_by(authority.certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{DOMAIN}/malla/query"]
    assert names.get_values_for_type(x509.DNSName) == [f"query.{DOMAIN}"]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert timedelta(0) < made.expires - datetime.now(UTC) <= LEAF_LIFETIME
    assert issued_in(tmp_path) == [made]


def test_only_the_owner_reads_a_key(authority: Authority, tmp_path: Path) -> None:
    authority.issue("query", leaf_folder(tmp_path, "query"))
    keys = [leaf(tmp_path).key, authority.folder / "ca.key"]
    assert [key.stat().st_mode & 0o777 for key in keys] == [0o600, 0o600]
    assert {folder.stat().st_mode & 0o777 for folder in (authority.folder, leaf(tmp_path).key.parent)} == {0o700}
    assert "PRIVATE" not in repr(authority)


def test_an_authority_stays_as_it_is(authority: Authority, tmp_path: Path) -> None:
    assert Authority.init(authority.folder, DOMAIN).certificate == authority.certificate
    with pytest.raises(InvalidArgumentError, match=r"that of malla\.test"):
        Authority.init(authority.folder, "other.test")
    with pytest.raises(NotFoundError, match="malla certs init"):
        Authority.open(tmp_path / "none")


@pytest.mark.parametrize("name", ["", "Query", "a/b", "..", "a b", "-a"])
def test_names_are_names(authority: Authority, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        authority.issue(name, tmp_path / "leaf")
    with pytest.raises(InvalidArgumentError):
        Authority.init(tmp_path / "ca", name or "/")


def test_certificates_are_renewed_in_their_last_third(authority: Authority, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority.issue("query", leaf_folder(tmp_path, "query"), now=now - LEAF_LIFETIME * 0.7)
    young = authority.issue("gateway", leaf_folder(tmp_path, "gateway"), now=now - LEAF_LIFETIME * 0.6)
    assert [one.member for one in renew_due(tmp_path)] == ["query"]
    assert renew_due(tmp_path) == []
    assert young in issued_in(tmp_path)
    assert [one.member for one in renew_due(tmp_path, everyone=True)] == ["gateway", "query"]


def test_a_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    short = Authority.init(tmp_path / "ca", DOMAIN, lifetime=timedelta(days=1))
    assert short.issue("query", tmp_path / "leaf").expires == short.certificate.not_valid_after_utc


def test_half_a_rotation_is_left_alone(authority: Authority, tmp_path: Path) -> None:
    authority.issue("query", leaf_folder(tmp_path, "query"))
    files, tls = FollowedFiles(leaf(tmp_path)), leaf(tmp_path)
    assert files.fresh() is None
    authority.issue("query", tmp_path / "next")
    new = MeshTls.of(tmp_path / "next", DOMAIN)
    tls.key.write_bytes(new.key.read_bytes())
    assert files.fresh() is None
    assert files.current.key != new.key.read_bytes()
    tls.cert.write_bytes(new.cert.read_bytes())
    material = files.fresh()
    assert material is not None
    assert (material.cert, material.key) == (new.cert.read_bytes(), new.key.read_bytes())
    assert files.fresh() is None
    tls.cert.unlink()
    assert files.fresh() is None
    assert files.current is material


def test_files_that_do_not_fit_are_refused_at_the_start(authority: Authority, tmp_path: Path) -> None:
    authority.issue("query", leaf_folder(tmp_path, "query"))
    authority.issue("gateway", leaf_folder(tmp_path, "gateway"))
    query, other = leaf(tmp_path), leaf(tmp_path, "gateway")
    for broken in (
        MeshTls(query.cert, other.key, query.ca, DOMAIN),
        MeshTls(tmp_path / "none", query.key, query.ca, DOMAIN),
        MeshTls(query.cert, query.key, query.key, DOMAIN),
    ):
        with pytest.raises(InvalidArgumentError, match="malla certs"):
            FollowedFiles(broken)


def test_another_side_is_always_asked_for_its_certificate(authority: Authority, tmp_path: Path) -> None:
    authority.issue("query", leaf_folder(tmp_path, "query"))
    files = FollowedFiles(leaf(tmp_path))
    for purpose in (ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH):
        assert files.context(purpose).verify_mode == ssl.CERT_REQUIRED


def test_settings_name_all_files_or_none(tmp_path: Path) -> None:
    assert MeshSettings(_env_file=None).mesh_tls() is None
    assert MeshSettings(_env_file=None, tls_cert="", tls_key="", tls_ca="").mesh_tls() is None
    whole = MeshSettings(_env_file=None, tls_cert=tmp_path / "c", tls_key=tmp_path / "k", tls_ca=tmp_path / "a")
    tls = whole.mesh_tls()
    assert tls is not None
    assert tls.id_of("proxy") == "spiffe://malla.local/malla/proxy"
    with pytest.raises(ValidationError, match="set all three, or none"):
        MeshSettings(_env_file=None, tls_cert=tmp_path / "c")


def test_half_of_the_files_is_an_error_that_says_what_to_set(malla, monkeypatch) -> None:
    monkeypatch.setenv("MALLA_TLS_CERT", "tls.crt")
    said = malla("init", status=1)
    assert said.count("\n") == 1
    assert "MALLA_TLS_CERT, MALLA_TLS_KEY and MALLA_TLS_CA go together: set all three, or none" in said
    assert json.loads(malla("init", "--json", status=1))["error"]["type"] == "INVALID_SETTING"
    assert DOMAIN in malla("init", "--trust-domain", DOMAIN)  # asks for none of them


def test_the_policy_names_members_only() -> None:
    assert set(MAY_CALL) <= set(MEMBERS)
    assert {server for servers in MAY_CALL.values() for server in servers} <= set(UPSTREAMS)


def test_the_command_makes_lists_and_renews(malla, monkeypatch) -> None:
    assert "malla certs init" in malla("issue", status=1)
    assert malla("init", "--trust-domain", DOMAIN, "--json")["trust_domain"] == DOMAIN
    assert [row["service"] for row in malla("issue", "--json")["certificates"]] == list(MEMBERS)
    assert {row["state"] for row in malla("list", "--json")["certificates"]} == {"good"}
    assert "No certificate renewed." in malla("renew")
    assert len(malla("renew", "--all", "--json")["certificates"]) == len(MEMBERS)
    assert [row["service"] for row in malla("issue", "query", "--days", "1", "--json")["certificates"]] == ["query"]
    monkeypatch.setenv("COLUMNS", "40")
    listed = malla("list").splitlines()
    assert [line.split()[1] for line in listed[1:]] == [f"spiffe://{DOMAIN}/malla/{name}" for name in sorted(MEMBERS)]
    assert {line.split()[-1] for line in listed[1:]} == {"good"}
    assert "that of malla.test" in malla("init", status=1)
