"""`malla` in this process, for the tests of what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.cli import main as cli

Run = Callable[..., tuple[int, str, str]]
Said = Callable[..., Any]


@pytest.fixture
def run_malla(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit status, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)  # no .env of the checkout

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["malla", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def told_by_malla(run_malla: Run) -> Said:
    """Runs a command that ends with `status`; returns its complaint, its JSON, or what it printed."""

    def run(*arguments: str, status: int = 0) -> Any:
        code, out, err = run_malla(*arguments)
        assert code == status, err
        return err if status else json.loads(out) if "--json" in arguments else out

    return run
