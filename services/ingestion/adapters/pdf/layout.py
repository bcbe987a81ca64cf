"""The text of a page with its tables: each where its first words stand in the text, and its words nowhere else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from services.ingestion.adapters.pdf.grid import Grid, is_title
from services.ingestion.adapters.pdf.page import Character

# What has longer cells is a page laid out in columns, or a form with paragraphs in it, and reads better as text.
_LONGEST_USUAL_CELL = 300
# Charts are grids, too, with few words in them.
_LEAST_FILLED = 1 / 3
_LEAST = 2
# Points: how far letters of one line stand from each other's height, raised ones included, and how far those of its cells.
_SAME_LINE = 4.0
_SAME_HEIGHT = 1.5
_LEAST_CELLS_IN_STEP = 3
# Points: letters may stand on the line that they belong above.
_ABOVE_THE_LINE = 1.0
# Points: what follows on a line within this distance goes on with it.
_NEXT_LETTER = 20.0

# Number of a grid and of a cell in it.
Place = tuple[int, int]
Cells = Mapping[int, Sequence["_CellLine"]]


@dataclass
class _CellLine:
    """A line of text in a cell, and the height of its first letter on the page."""

    height: float
    text: str = ""


@dataclass(frozen=True)
class Table:
    """A table: the titles above its columns, then its rows, the header row first."""

    grid: Grid
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def under(self, header: tuple[str, ...]) -> Table:
        """Returns the table with a header row above it, which it lacks where it goes on from another page."""
        return self if self.rows[0] == header else replace(self, rows=(header, *self.rows))

    def markdown(self) -> str:
        """Returns the table in Markdown, with its titles above it."""
        head, *body = self.rows
        table = "\n".join([_row(head), _row(["---"] * len(head)), *map(_row, body)])
        return "\n\n".join([*self.titles, table])


def laid_out(characters: Sequence[Character], grids: Sequence[Grid]) -> list[str | Table]:
    """Returns the text of a page in order: pieces of text as they stand, and tables."""
    places = list(_placed(characters, grids))
    cells = _cells(characters, places)
    tables = {number: table for number, grid in enumerate(grids) if (table := _table(grid, cells[number])) is not None}
    owners = (place[0] if place is not None and place[0] in tables else None for place in places)
    parts: list[str | Table] = []
    told: set[int] = set()
    for owner, run in groupby(zip(owners, characters, strict=True), key=lambda each: each[0]):
        if owner is None:
            parts.append("".join(character.text for _, character in run))
        elif owner not in told:
            told.add(owner)
            parts.append(tables[owner])
    return parts


def _placed(characters: Sequence[Character], grids: Sequence[Grid]) -> Iterator[Place | None]:
    """Yields the cell that each character is in: white space where the character before it is, a word where it begins.

    What runs out of a cell over the side of its table is still the cell's.
    """
    last: Place | None = None
    at, is_word = (0.0, 0.0), False
    for character in characters:
        if character.place is None:
            is_word = False
        else:
            runs_on = character.place[1] == at[1] and 0 <= character.place[0] - at[0] <= _NEXT_LETTER
            if not (runs_on and is_word):
                last = _cell_at(character.place, grids) or (last if runs_on else None)
            at, is_word = character.place, True
        yield last


def _cell_at(place: tuple[float, float], grids: Sequence[Grid]) -> Place | None:
    x, y = place
    found = ((i, cell) for i, grid in enumerate(grids) if (cell := grid.cell_at(x, y + _ABOVE_THE_LINE)) is not None)
    return next(found, None)


def _cells(characters: Sequence[Character], places: Sequence[Place | None]) -> defaultdict[int, dict[int, list[_CellLine]]]:
    """Returns the lines of text in each cell of each grid."""
    cells: defaultdict[int, dict[int, list[_CellLine]]] = defaultdict(dict)
    for character, place in zip(characters, places, strict=True):
        if place is None:
            continue
        lines = cells[place[0]].setdefault(place[1], [])
        height = character.place[1] if character.place is not None else None
        if height is not None and (not lines or abs(lines[-1].height - height) > _SAME_LINE):
            lines.append(_CellLine(height))
        if lines:
            lines[-1].text += character.text
    return cells


def _table(grid: Grid, cells: Cells) -> Table | None:
    """Returns the table in a grid without its empty rows and columns; None where the grid is something else."""
    first = next((i for i, row in enumerate(grid.cells) if not is_title(grid, i)), 0)
    rows = [_texts(row, cells) for row in grid.cells[first : first + 1]]
    rows += [texts for row in grid.cells[first + 1 :] for texts in _rows_within(row, cells)]
    columns = [i for i, column in enumerate(zip(*rows, strict=True)) if any(column)]
    rows = [tuple(row[i] for i in columns) for row in rows if any(row)]
    filled = [text for row in rows for text in row if text]
    if min(len(rows), len(columns)) < _LEAST or len(filled) < _LEAST_FILLED * len(rows) * len(columns):
        return None
    if sum(len(text) for text in filled if len(text) > _LONGEST_USUAL_CELL) > sum(map(len, filled)) / 2:
        return None
    titles = (_text(cells.get(row[0], ())) for row in grid.cells[:first])
    return Table(grid, tuple(filter(None, titles)), tuple(rows))


def _rows_within(row: Sequence[int], cells: Cells) -> Iterator[tuple[str, ...]]:
    """Yields the rows between two lines: several where the cells' lines of text stand side by side, as in a list of figures."""
    in_step = [cells[cell] for cell in dict.fromkeys(row) if cells.get(cell)]
    lines = in_step[0] if in_step else []
    if len(lines) < _LEAST or len(in_step) < _LEAST_CELLS_IN_STEP or not all(_in_step(lines, other) for other in in_step):
        yield _texts(row, cells)
        return
    for i in range(len(lines)):
        yield _texts(row, {cell: cells[cell][i : i + 1] for cell in row if cells.get(cell)})


def _in_step(lines: Sequence[_CellLine], other: Sequence[_CellLine]) -> bool:
    return len(lines) == len(other) and all(abs(a.height - b.height) < _SAME_HEIGHT for a, b in zip(lines, other, strict=True))


def _texts(row: Sequence[int], cells: Cells) -> tuple[str, ...]:
    """Returns a row's texts: one that spans columns in the first of them, one that spans rows in each."""
    return tuple("" if before == cell else _text(cells.get(cell, ())) for before, cell in pairwise((-1, *row)))


def _text(lines: Sequence[_CellLine]) -> str:
    return " ".join(word for line in lines for word in line.text.split())


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
