"""Tables of which nothing is cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.cli.tables import WholeTable

_ID = "job-45ebc09eff664d47a8e40ad911aa8b55"
_WHY = "The document has no text that could be read."


def shown(width, *, terminal):
    table = WholeTable()
    table.add_columns("job", "tokens")
    table.add_column("why", min_width=12, overflow="fold")
    table.add_row(_ID, "1,234,567", _WHY)
    out = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, soft_wrap=True, highlight=False)
    out.print(table)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [10, 40, 80, 200])
def test_ids_and_figures_are_whole_however_narrow_the_terminal(width):
    lines = shown(width, terminal=True)
    assert lines[1].startswith(f"{_ID}  1,234,567  The document")
    assert " ".join(" ".join(lines[1:]).split()) == f"{_ID} 1,234,567 {_WHY}"


def test_a_terminal_with_room_folds_less():
    assert len(shown(80, terminal=True)) < len(shown(40, terminal=True))


def test_into_a_pipe_goes_a_line_a_row():
    assert shown(40, terminal=False)[1:] == [f"{_ID}  1,234,567  {_WHY}"]
