"""Text that is no UTF-8, terminals that lack signs, and streams that are not there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.output import console, error_console, print_json
from services.cli.text import usable_streams


@pytest.fixture
def malla(run_malla, monkeypatch):
    monkeypatch.setenv("MALLA_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("MALLA_TOKEN", "x")
    return run_malla


@pytest.fixture
def terminal(monkeypatch):
    """A standard output in an encoding of its own; what it was told comes as text."""

    def of(encoding):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        usable_streams()

        def told():
            stream.flush()
            return stream.buffer.getvalue().decode(encoding)

        return told

    return of


@pytest.mark.parametrize("command", [["ask", "hola \udcbf", "-c", "x"], ["search", "x", "-c", "\udcbf"]])
def test_an_argument_in_another_encoding_is_named(malla, command):
    code, out, err = malla(*command)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "is no text in UTF-8. Check the encoding of the terminal" in err


def test_a_file_of_settings_in_another_encoding_is_named(malla, tmp_path):
    (tmp_path / ".env").write_bytes("# contraseña\n".encode("latin-1"))
    code, _, err = malla("status")
    assert code == 1
    assert err == "malla: The file .env in this folder is no text in UTF-8. Save it as UTF-8.\n"


def test_standard_input_in_another_encoding_is_told(malla, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    code, _, err = malla("call", "Search", "-", "--json")
    assert code == 1
    assert "What was read is no text in UTF-8: invalid start byte at byte 0" in json.loads(err)["message"]


def test_a_failure_of_encoding_that_nobody_caused_is_not_hidden(malla, monkeypatch):
    monkeypatch.setattr("services.cli.commands.search.find_edge", lambda _settings: "\udcbf".encode())
    with pytest.raises(UnicodeEncodeError):
        malla("search", "x", "-c", "x")


@pytest.mark.parametrize(("encoding", "said"), [("ascii", "?Cu?nto? ?"), ("latin-1", "¿Cuánto? ?"), ("utf-8", "¿Cuánto? …")])
def test_what_a_terminal_has_no_sign_for_is_a_question_mark(terminal, encoding, said):
    told = terminal(encoding)
    console().print("¿Cuánto? …")
    assert told() == said + "\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_machines_get_every_sign_in_every_encoding(terminal, encoding):
    told = terminal(encoding)
    said = {"text": "¿Cuánto? … \U0001f600", "path": "ma\udcf1ana.txt"}
    print_json(said)
    assert json.loads(told()) == said


def test_streams_that_are_closed_are_empty(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    usable_streams()
    with sys.stdin, sys.stdout, sys.stderr:
        assert sys.stdin.read() == ""
        print_json({})
        error_console().print("x")


def test_an_output_that_is_full_is_told(tmp_path):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "services.cli", "call", "--list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "malla: The output cannot be written: No space left on device. Send it elsewhere.\n"
