"""A command loads what it needs: what it does not need costs its user half a second each time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.main import get_command

from services.cli import main as cli

COMMANDS = get_command(cli.app)
CONTEXT = typer.Context(COMMANDS)
HEAVY = {"common.models", "faiss", "grpc", "httpx", "jinja2", "numpy", "opentelemetry", "pydantic", "pymongo", "rich"}

RUN = """
import json, sys
from services.cli.main import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def loaded_by(*arguments, folder):
    command = [sys.executable, "-c", RUN, *arguments]
    ran = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=60)
    return ran, HEAVY.intersection(json.loads(ran.stderr.splitlines()[-1]))


def test_help_loads_nothing_that_is_heavy(tmp_path):
    ran, heavy = loaded_by("--help", folder=tmp_path)
    assert ran.returncode == 0
    assert all(name in ran.stdout for name in COMMANDS.list_commands(CONTEXT))
    assert heavy == set()


def test_the_status_of_nothing_and_a_token_need_no_servers_libraries(tmp_path):
    ran, heavy = loaded_by("status", "--data-dir", str(tmp_path), folder=tmp_path)
    assert ran.returncode == 1
    assert heavy == {"pydantic", "rich"}
    ran, heavy = loaded_by("token", "create", "--tenant", "acme", "--data-dir", str(tmp_path), folder=tmp_path)
    assert ran.returncode == 0
    assert heavy == {"common.models", "opentelemetry", "pydantic"}


@pytest.mark.parametrize("name", COMMANDS.list_commands(CONTEXT))
def test_help_says_what_the_command_says_of_itself(name):
    command = COMMANDS.get_command(CONTEXT, name)
    assert command.name == name
    assert " ".join(command.help.split()).startswith(cli.Commands.places[name].help)


def test_a_name_that_is_almost_one_is_answered_with_it():
    with pytest.raises(typer.TyperException, match="Did you mean 'status'"):
        cli.app(args=["statu"], standalone_mode=False)
