"""The long form of tests/e2e/test_schemathesis.py: every boundary of each parameter, more requests, chains of calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.mesh import Mesh, started
from tests.e2e.schemathesis_run import run_schemathesis

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with started(tmp_path / "mesh") as running:
        yield running


def test_every_boundary_of_every_operation_is_answered_as_documented(mesh: Mesh, tmp_path: Path) -> None:
    report = run_schemathesis(
        mesh,
        "schemathesis",
        tmp_path,
        *("--phases", "examples,coverage,fuzzing,stateful", "-n", "40"),
        timeout_s=850,
    )
    print(report.output)
    assert report.status == 0
    assert report.facts["operations"]["tested"] == report.facts["operations"]["total"]
