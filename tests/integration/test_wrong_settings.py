"""A server that is set wrongly says which setting it is, in one line of its log, and ends."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from common.settings import REPOSITORY
from tests.e2e.mesh import clean_env


@pytest.mark.parametrize("server", ["embedding", "gateway", "ingestion", "query"])
@pytest.mark.parametrize("setting", ["MALLA_PORT", "MALLA_LOG_LEVEL"])
def test_a_server_names_the_setting_that_is_wrong(server: str, setting: str):
    command = [sys.executable, "-m", f"services.{server}"]
    env = clean_env() | {setting: "loud"}
    ended = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    told = json.loads(line)
    assert told["level"] == "CRITICAL"
    assert told["message"].startswith(f"The setting {setting} is wrong: ")
