"""`malla token`: made, listed, revoked, and signed by one key after another, without a mesh that runs."""

from __future__ import annotations

import io
import json

import jwt
import pytest

from common.identity import revoked_ids
from services.cli.launcher.state import MeshState
from services.cli.session import _own_token


@pytest.fixture
def home(tmp_path):
    return tmp_path / "mesh"


@pytest.fixture
def malla(told_by_malla, monkeypatch, home):
    monkeypatch.setenv("MALLA_DATA_DIR", str(home))
    return lambda *arguments, status=0: told_by_malla("token", *arguments, status=status)


def kid_of(token):
    return jwt.get_unverified_header(token)["kid"]


def states(malla):
    return {row["jti"]: row["state"] for row in malla("list", "--json")["tokens"]}


@pytest.mark.parametrize("command", [["list"], ["create", "--tenant", "acme"], ["rotate"]])
def test_a_damaged_key_is_told(malla, home, command):
    malla("create", "--tenant", "acme")
    [key] = home.glob("keys/*.pem")
    key.write_text("-----BEGIN")
    said = malla(*command, status=1)
    assert said.startswith(f"malla: A key in {home / 'keys'} is damaged (")
    assert said.count("\n") == 1


def test_a_token_has_all_scopes_unless_some_are_named(malla):
    assert malla("create", "--tenant", "acme", "--json")["scopes"] == ["read", "write", "chat", "admin"]
    made = malla("create", "--tenant", "acme", "--scope", "read", "--scope", "chat", "--json")
    assert jwt.decode(made["token"], options={"verify_signature": False})["scope"] == "read chat"
    assert "use read, write, chat, admin" in malla("create", "--tenant", "acme", "--scope", "wirte", status=1)


def test_what_is_listed_is_no_token(malla, home):
    token = malla("create", "--tenant", "acme", "--subject", "ana", "--ttl", "1h", "--json")["token"]
    malla("create", "--tenant", "globex")
    [row] = malla("list", "--tenant", "acme", "--json")["tokens"]
    assert row["jti"] == jwt.decode(token, options={"verify_signature": False})["jti"]
    assert (row["tenant"], row["tier"], row["subject"], row["state"]) == ("acme", "free", "ana", "good")
    assert row["jti"] in malla("list")
    for path in home.rglob("*"):
        assert not path.is_file() or token.rpartition(".")[2] not in path.read_text()


def test_a_list_breaks_no_word_in_a_narrow_terminal(malla, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "malla token create" in malla("list")
    malla("create", "--tenant", "acme-centro", "--tier", "enterprise", "--subject", "ana@example.com")
    [row] = malla("list", "--json")["tokens"]
    first, second = malla("list").splitlines()
    assert first.split()[:2] == [row["jti"], "good,"]
    assert second.strip() == "acme-centro, enterprise: read write chat admin, held by ana@example.com"
    assert max(len(first), len(second)) <= 80


@pytest.mark.parametrize("how", ["id", "token", "stdin", "tenant"])
def test_a_token_is_revoked(malla, home, monkeypatch, how):
    token = malla("create", "--tenant", "acme").strip()
    other = malla("create", "--tenant", "globex", "--json")["token"]
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
    told = malla("revoke", *{"id": [jti], "token": [token], "stdin": ["-"], "tenant": ["--tenant", "acme"]}[how], "--json")
    assert [row["jti"] for row in told["tokens"]] == [jti]
    assert states(malla) == {jti: "revoked", jwt.decode(other, options={"verify_signature": False})["jti"]: "good"}
    assert revoked_ids(home / "keys" / "revoked.json") == {jti}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "--tenant"), (["x", "--tenant", "a"], "--tenant"), (["x"], "malla token list"), (["a.b"], "no token")],
)
def test_what_cannot_be_revoked(malla, arguments, words):
    assert words in malla("revoke", *arguments, status=1)


def test_the_tenant_without_a_token_is_said_to_have_none(malla):
    assert "no token that is still good" in malla("revoke", "--tenant", "acme", status=1)


def test_keys_take_turns(malla, home):
    first = malla("create", "--tenant", "acme").strip()
    told = malla("rotate", "--json")
    second = malla("create", "--tenant", "acme").strip()
    assert told["keys"] == [kid_of(first), kid_of(second)]
    assert told["signing_key"] == kid_of(second)
    assert malla("rotate", "--drop-old", "--json")["keys"] == [kid_of(second)]
    assert sorted(states(malla).values()) == ["good", "key dropped"]
    assert [key["kid"] for key in json.loads((home / "keys" / "jwks.json").read_text())["keys"]] == [kid_of(second)]


def test_an_only_key_is_dropped_for_a_new_one(malla):
    first = malla("create", "--tenant", "acme").strip()
    [key] = malla("rotate", "--drop-old", "--json")["keys"]
    assert key != kid_of(first)


def test_in_the_folder_that_containers_share(malla, tmp_path):
    shared = ("--folder", str(tmp_path / "shared"))
    token = malla("create", "--tenant", "acme", *shared).strip()
    malla("revoke", token, *shared)
    assert len(revoked_ids(tmp_path / "shared" / "revoked.json")) == 1
    malla("rotate", *shared)
    assert len(json.loads((tmp_path / "shared" / "jwks.json").read_text())["keys"]) == 2
    assert list((tmp_path / "shared" / "keys").glob("*.key.pem"))


def state_of(home, token):
    empty = {"edge_url": "http://127.0.0.1:1", "mesh_address": "", "admin_address": "", "mongodb_uri": "", "ports": {}}
    return MeshState(data_dir=home, logs=home / "logs", token=token, processes=[], **empty)


def test_the_other_commands_use_the_token_of_the_start_while_it_is_good(malla, home):
    token = malla("create", "--tenant", "default", "--tier", "enterprise").strip()
    assert _own_token(state_of(home, token)) == token


@pytest.mark.parametrize("end", [["rotate", "--drop-old"], ["revoke", "--tenant", "default"], []])
def test_and_make_another_where_it_is_not(malla, home, end):
    token = malla("create", "--tenant", "default", "--tier", "enterprise", "--ttl", "24h" if end else "60s").strip()
    if end:
        malla(*end)
    made = jwt.decode(_own_token(state_of(home, token)), options={"verify_signature": False})
    assert (made["tenant"], made["tier"], made["scope"]) == ("default", "enterprise", "read write chat admin")
    assert states(malla)[made["jti"]] == "good"
