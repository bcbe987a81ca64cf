"""Grids: the tables that the lines of a page draw."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Points: strokes this close are one line, and ends this close meet. Rows of text are three times as high.
_NEAR = 3.0
_SHORTEST = 5.0
_COVERED = 0.5
_LEAST = 2
# Drawings and maps are no tables; what finding grids in them would cost grows with the square.
_MOST_LINES = 400
_MOST_SLOTS = 10_000


@dataclass(frozen=True)
class Line:
    """A straight stroke: at a height, from left to right; or at a distance from the left, from bottom to top. In points."""

    at: float
    start: float
    end: float


@dataclass(frozen=True)
class Grid:
    """A table's cells.

    Attributes:
        xs: Where columns begin, from left to right, and where the last one ends.
        ys: Where rows begin, from top to bottom, and where the last one ends.
        cells: Number of the cell at each row and column; merged cells have one number.
    """

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    cells: tuple[tuple[int, ...], ...]

    def cell_at(self, x: float, y: float) -> int | None:
        """Returns which cell a point is in; None outside."""
        if not (self.xs[0] <= x < self.xs[-1] and self.ys[-1] < y <= self.ys[0]):
            return None
        return self.cells[bisect_right(self.ys, -y, key=_negative) - 1][bisect_right(self.xs, x) - 1]


@dataclass
class _Sets:
    """Numbers that belong together."""

    of: dict[int, int] = field(default_factory=dict)

    def find(self, item: int) -> int:
        while (above := self.of.setdefault(item, item)) != item:
            self.of[item] = item = self.of[above]
        return item

    def join(self, one: int, other: int) -> None:
        self.of[self.find(other)] = self.find(one)


def _negative(number: float) -> float:
    return -number


def grids_of(across: Sequence[Line], down: Sequence[Line]) -> list[Grid]:
    """Returns the grids that horizontal and vertical lines draw, the highest on the page first."""
    across, down = straightened(across), straightened(down)
    if not across or not down or len(across) + len(down) > _MOST_LINES:
        return []
    found = (_grid(*lines) for lines in _connected(across, down))
    return sorted((grid for grid in found if grid is not None), key=lambda grid: -grid.ys[0])


def straightened(lines: Sequence[Line]) -> list[Line]:
    """Returns the lines with those of one position at exactly that position, and the pieces of one joined."""
    joined: list[Line] = []
    for level in _levels(lines):
        at = sum(line.at for line in level) / len(level)
        start, end = level[0].start, level[0].end
        for line in level[1:]:
            if line.start > end + _NEAR:
                joined.append(Line(at, start, end))
                start, end = line.start, line.end
            end = max(end, line.end)
        joined.append(Line(at, start, end))
    return [line for line in joined if line.end - line.start >= _SHORTEST]


def _levels(lines: Sequence[Line]) -> Iterator[list[Line]]:
    level: list[Line] = []
    for line in sorted(lines, key=lambda line: line.at):
        if level and line.at - level[0].at > _NEAR:
            yield sorted(level, key=lambda line: line.start)
            level = []
        level.append(line)
    if level:
        yield sorted(level, key=lambda line: line.start)


def _connected(across: list[Line], down: list[Line]) -> Iterator[tuple[list[Line], list[Line]]]:
    """Yields lines that cross or meet, directly or by way of others."""
    sets, places = _Sets(), [line.at for line in down]
    for i, line in enumerate(across):
        for j in range(bisect_left(places, line.start - _NEAR), bisect_right(places, line.end + _NEAR)):
            if down[j].start - _NEAR <= line.at <= down[j].end + _NEAR:
                sets.join(i, len(across) + j)
    groups: dict[int, tuple[list[Line], list[Line]]] = {}
    for number in list(sets.of):
        rows, columns = groups.setdefault(sets.find(number), ([], []))
        if number < len(across):
            rows.append(across[number])
        else:
            columns.append(down[number - len(across)])
    yield from groups.values()


def _grid(across: list[Line], down: list[Line]) -> Grid | None:
    """Returns the grid of connected lines, closed at its sides where no line does; None where it is no more than a box."""
    xs = _places(down, across)
    ys = _places(across, down)[::-1]
    rows, columns = len(ys) - 1, len(xs) - 1
    if min(rows, columns) < _LEAST or rows * columns > _MOST_SLOTS:
        return None
    sets = _Sets()
    for row in range(rows):
        for column in range(columns):
            here = row * columns + column
            sets.find(here)
            if column + 1 < columns and not _covers(down, xs[column + 1], ys[row + 1], ys[row]):
                sets.join(here, here + 1)
            if row + 1 < rows and not _covers(across, ys[row + 1], xs[column], xs[column + 1]):
                sets.join(here, here + columns)
    cells = tuple(tuple(sets.find(row * columns + column) for column in range(columns)) for row in range(rows))
    return Grid(tuple(xs), tuple(ys), cells)


def _places(lines: list[Line], crossing: list[Line]) -> list[float]:
    """Returns where lines are, in ascending order, and where those that cross them end beyond the last."""
    places = sorted({line.at for line in lines})
    first, last = min(line.start for line in crossing), max(line.end for line in crossing)
    return [*([first] if first < places[0] - _NEAR else []), *places, *([last] if last > places[-1] + _NEAR else [])]


def _covers(lines: list[Line], at: float, start: float, end: float) -> bool:
    there = sum(max(0.0, min(line.end, end) - max(line.start, start)) for line in lines if line.at == at)
    return there >= _COVERED * (end - start)


def columns_match(one: Grid, other: Grid) -> bool:
    """Returns whether two grids have the same columns at the same places."""
    return len(one.xs) == len(other.xs) and all(abs(a - b) <= _NEAR for a, b in zip(one.xs, other.xs, strict=True))


def is_title(grid: Grid, row: int) -> bool:
    """Returns whether a row is one cell from side to side, and no more than that row."""
    [first, *rest] = dict.fromkeys(grid.cells[row])
    return not rest and all(first not in cells for i, cells in enumerate(grid.cells) if i != row)
