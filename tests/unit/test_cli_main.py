"""What a user sees of a failure: one line that says what to do, and the exit status."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import jwt
import pytest
import typer

from services.cli.durations import parse_ttl
from services.cli.session import find_edge
from services.cli.settings import CliSettings


@pytest.fixture
def malla(run_malla, monkeypatch, tmp_path):
    monkeypatch.setenv("MALLA_DATA_DIR", str(tmp_path / "mesh"))
    for name in ("MALLA_ADDRESS", "MALLA_TOKEN", "MONGODB_URI"):
        monkeypatch.delenv(name, raising=False)
    return run_malla


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["down"], 1, "malla up --data-dir"),
        (["search", "x", "-c", "manual"], 1, "malla up --data-dir"),
        (["ask", "x", "-c", "manual"], 1, "malla up --data-dir"),
        (["ingest", "nowhere", "-c", "manual"], 1, "no file or folder nowhere"),
        (["eval", "nowhere.jsonl", "-c", "manual"], 1, "nowhere.jsonl cannot be read"),
        (["logs", "query"], 1, "no log 'query'"),
        (["token", "create", "--tenant", "A b"], 1, "lower-case"),
        (["token", "create"], 2, "--tenant"),
        (["token", "create", "--tenant", "a", "--ttl", "soon"], 2, "90s"),
        (["token"], 2, "malla token --help"),
        (["ask"], 2, "malla ask --help"),
        (["frobnicate"], 2, "malla --help"),
        (["token", "rotat"], 2, "Did you mean 'rotate'? See malla token --help"),
        (["token", "create", "--tenant", "a", "--ttl", "99999999d"], 2, "at most 36500d"),
        (["logs", "--since", "soon"], 2, "Invalid value for --since"),
        (["logs", "--since", "999999d"], 2, "at most 36500d"),
        (["certs", "renew", "--folder", ".", "--every", "soon"], 2, "Invalid value for --every"),
        (["ingest", "", "-c", "manual"], 2, "it is empty"),
        (["status", "--data-dir", ""], 2, "it is empty"),
        (["up", "--replicas", "banana=2"], 2, "embedding, ingestion, query"),
        (["up", "--replicas", "query"], 2, "embedding=2"),
        (["up", "--port", "70000"], 2, "65535"),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(malla, arguments, status, words):
    code, out, err = malla(*arguments)
    assert code == status
    assert out == ""
    assert err.startswith("malla: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_failure_for_machines_has_the_one_shape(malla):
    code, out, err = malla("search", "x", "-c", "manual", "--json")
    assert (code, out) == (1, "")
    body = json.loads(err)
    assert set(body) == {"success", "message", "error", "metadata"}
    assert body["success"] is False


def test_without_arguments_it_helps(malla):
    code, out, _ = malla()
    assert code == 0
    assert "ingest" in out


def test_a_wrong_setting_is_named(malla, monkeypatch):
    monkeypatch.setenv("MALLA_EDGE_PORT", "http")
    code, _, err = malla("status")
    assert code == 1
    assert "MALLA_EDGE_PORT" in err


@pytest.mark.parametrize("detach", [["--detach"], []], ids=["detached", "in front"])
def test_a_wrong_setting_of_the_mesh_is_named_by_up(malla, monkeypatch, tmp_path, detach):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "perhaps")
    code, _, err = malla("up", *detach, "--port", "0", "--data-dir", str(tmp_path))
    assert code == 1
    assert err.startswith("malla: The setting OTEL_SDK_DISABLED is wrong: ")
    assert err.count("\n") == 1


def test_its_version(malla):
    code, out, err = malla("--version")
    assert (code, err) == (0, "")
    assert out == f"malla {version('malla')}\n"


@pytest.mark.parametrize("address", ["mesh.example", "https://mesh.example:443", "mesh.example:80/api", ":80", "mesh:http"])
def test_an_address_that_cannot_be_dialled_is_named(malla, monkeypatch, address):
    monkeypatch.setenv("MALLA_ADDRESS", address)
    monkeypatch.setenv("MALLA_TOKEN", "x")
    code, _, err = malla("search", "x", "-c", "manual")
    assert code == 1
    assert f"MALLA_ADDRESS is '{address}'. Give host:port" in err


@pytest.mark.parametrize("address", ["http://mesh.example:8080/", "mesh.example:8080", "[::1]:8080"])
def test_the_edge_may_be_given_as_up_shows_it(monkeypatch, address):
    monkeypatch.setenv("MALLA_ADDRESS", address)
    monkeypatch.setenv("MALLA_TOKEN", " x\n")
    found = find_edge(CliSettings())
    assert (found.address, found.token) == (address.removeprefix("http://").rstrip("/"), "x")


@pytest.mark.parametrize("token", ["ma\u00f1ana", "a\nb"])
def test_what_cannot_be_a_token_is_not_sent(malla, monkeypatch, token):
    monkeypatch.setenv("MALLA_ADDRESS", "mesh.example:443")
    monkeypatch.setenv("MALLA_TOKEN", token)
    code, _, err = malla("search", "x", "-c", "manual")
    assert code == 1
    assert err == "malla: MALLA_TOKEN holds what no token has. Make one with `malla token create`.\n"


def test_a_variable_set_to_nothing_is_not_this_folder(monkeypatch):
    monkeypatch.setenv("MALLA_DATA_DIR", "")
    monkeypatch.setenv("MALLA_AUDIT_LOG", "")
    settings = CliSettings()
    assert settings.home == Path("~/.malla").expanduser().resolve()
    assert settings.audit_log is None


def test_an_address_needs_a_token(malla, monkeypatch):
    monkeypatch.setenv("MALLA_ADDRESS", "mesh.example:443")
    code, _, err = malla("search", "x", "-c", "manual")
    assert code == 1
    assert "MALLA_TOKEN" in err


@pytest.mark.parametrize("command", [["up", "--detach"], ["up"], ["status"], ["down"], ["token", "create", "--tenant", "a"]])
def test_a_data_dir_that_is_a_file(malla, tmp_path, command):
    (tmp_path / "file").write_text("")
    code, _, err = malla(*command, "--data-dir", str(tmp_path / "file"))
    assert code == 1
    assert err.count("\n") == 1
    assert "--data-dir" in err


@pytest.mark.parametrize(
    ("command", "log"),
    [
        (["logs", "--request-id", "none"], "logs/query.log"),
        (["audit", "--tenant", "none"], "logs/audit/query.jsonl"),
    ],
)
def test_a_log_without_a_line_that_fits_says_so(malla, tmp_path, command, log):
    path = tmp_path / "mesh" / log
    path.parent.mkdir(parents=True)
    path.write_text('{"time": "2026-11-22T05:00:00.000Z", "level": "INFO", "message": "ready", "tenant": "acme"}\n')
    assert malla(*command) == (0, "", "No line fits.\n")
    code, out, err = malla(*command, "--json")
    assert (code, json.loads(out)["lines"], err) == (0, [], "")


def test_a_folder_that_cannot_be_read_is_told(malla, monkeypatch):
    def refusing(_paths):
        raise PermissionError(13, "Permission denied", "manual/closed")

    monkeypatch.setattr("services.cli.commands.ingest.find_files", refusing)
    code, out, err = malla("ingest", "manual", "-c", "manual")
    assert (code, out) == (1, "")
    assert err == "malla: The folder manual/closed cannot be read: Permission denied. Nothing was ingested.\n"


def test_a_field_that_is_not_there_is_named_once(malla):
    code, _, err = malla("call", "Search", '{"q": 1}')
    assert code == 1
    assert err.endswith("Its fields: collection_id, query, k, filter, mode, min_seq, explain, context, request_id.\n")
    assert "Available" not in err
    assert ". ." not in err


def test_status_of_nothing(malla):
    code, out, _ = malla("status")
    assert code == 1
    assert "malla up" in out
    code, out, _ = malla("status", "--json")
    assert code == 1
    assert json.loads(out)["running"] is False


def test_a_token_is_made_without_a_mesh(malla):
    code, out, err = malla("token", "create", "--tenant", "acme", "--tier", "pro", "--ttl", "2h", "--scope", "read")
    assert (code, err) == (0, "")
    claims = jwt.decode(out.strip(), options={"verify_signature": False})
    assert (claims["tenant"], claims["tier"], claims["scope"]) == ("acme", "pro", "read")
    assert claims["exp"] - claims["iat"] == 7200


def test_a_token_for_machines(malla):
    code, out, _ = malla("token", "create", "--tenant", "acme", "--json")
    made = json.loads(out)
    assert code == 0
    assert (made["success"], made["tenant"], made["tier"]) == (True, "acme", "free")
    assert made["token"].count(".") == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800), (" 1h ", 3600)]
)
def test_durations(text, seconds):
    assert parse_ttl(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "1w", "1.5h", "h", "9" * 12])
def test_what_is_no_duration(text):
    with pytest.raises(typer.BadParameter):
        parse_ttl(text)
