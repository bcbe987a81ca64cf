"""What every test relies on."""

from __future__ import annotations

import signal

import pytest

# A shell starts background jobs with SIGINT ignored, and programs inherit that: Ctrl-C, which tests send, would do nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # the scheduler reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests stay together where several run side by side: those of a file, and all of the files that share the edge.

    The edge's servers run in the tests' own process. Another file's waiting in between would keep them from answering it.
    """
    of_edge = {item.path for item in items if "edge" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("edge" if item.path in of_edge else item.path.stem))
