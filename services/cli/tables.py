"""Tables of which nothing is cut, however narrow the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table

_BETWEEN = 2


class WholeTable(Table):
    """A table without lines, to be read, copied and searched.

    A figure that is cut is another figure, and an id that is folded finds nothing: what does not fit goes beyond the edge of
    the terminal, which breaks the line. Columns that fold break between words first. Into a pipe goes a line a row.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(box=None, pad_edge=False, **options)

    def add_columns(self, *headers: Any) -> None:
        """Adds columns that do not fold."""
        for header in headers:
            self.add_column(header, no_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Renders it at the width it needs."""
        needed = self._needed(folding=console.is_terminal)
        if needed > options.max_width:
            options = options.update(width=needed)
        yield from super().__rich_console__(console, options)

    def _needed(self, *, folding: bool) -> int:
        return sum(_needed_by(column, folding) for column in self.columns) + _BETWEEN * (len(self.columns) - 1)


def _needed_by(column: Column, folding: bool) -> int:
    texts = [str(text) for text in (column.header, column.footer, *column.cells)]
    pieces = texts if column.no_wrap or not folding else [word for text in texts for word in text.split()]
    return max(column.width or 0, column.min_width or 0, *map(_longest_line, pieces or [""]), 1)


def _longest_line(text: str) -> int:
    lines: Iterable[str] = text.splitlines() or [""]
    return max(map(cell_len, lines))
