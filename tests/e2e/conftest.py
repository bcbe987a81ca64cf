"""A whole mesh of real processes for the end-to-end tests, started and stopped as a user would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.edge import channel, edge, http
from tests.e2e.mesh import Mesh, started

__all__ = ["channel", "edge", "http"]


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One mesh for all tests that do not kill it."""
    with started(tmp_path_factory.mktemp("mesh")) as running:
        yield running


@pytest.fixture
def fragile_mesh(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh for one test alone, which may kill what it likes."""
    with started(tmp_path / "fragile") as running:
        yield running
