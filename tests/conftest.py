"""What every test relies on."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# A shell starts background jobs with SIGINT ignored, and programs inherit that: Ctrl-C, which tests send, would do nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

OF_EDGE = ("tests/e2e/test_edge_", "tests/e2e/test_hostile_requests")


class Together(LoadFileScheduling):
    """Where several tests run side by side, those of a file stay together, and so do all files that share the edge.

    The edge's servers run in the tests' own process. Another file's waiting in between would keep them from answering it.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "edge" if file.startswith(OF_EDGE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Tells xdist which tests stay together."""
    return Together(config, log)
