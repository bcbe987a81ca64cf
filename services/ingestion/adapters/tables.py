"""Tables of a Markdown text: found, and cut at their rows with the header row above each piece."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.ingestion.adapters.tokenizer import count_tokens

_TABLE = re.compile(r"^(?P<header>\|[^\n]*\n\|[ :|-]*-[ :|-]*)(?P<rows>(?:\n\|[^\n]*)*)", re.MULTILINE)
# A header that takes more of a piece than this leaves too little for what stands under it.
_MOST_HEADER_SHARE = 0.5


@dataclass(frozen=True)
class Span:
    """A piece of the text, and what is repeated above it: the header of the table it continues."""

    start: int
    end: int
    above: str = ""


Split = Callable[[str, int, int, int], list[Span]]


def tables_in(text: str, start: int, end: int) -> list[Span]:
    """Returns where the tables are."""
    return [Span(found.start(), found.end()) for found in _TABLE.finditer(text, start, end)]


def cut_table(text: str, table: Span, most_tokens: int, split: Split) -> Iterator[Span]:
    """Yields a table whole where it fits, else as many rows at a time as fit under the repeated header.

    Args:
        text: The whole text.
        table: Where the table is.
        most_tokens: The longest a piece may be, its header included.
        split: Cuts a row that is too long by itself.
    """
    if count_tokens(text[table.start : table.end]) <= most_tokens:
        yield table
        return
    found = _TABLE.match(text, table.start, table.end)
    if found is None:
        raise ValueError("not a table")
    header = found["header"] + "\n"
    room = most_tokens - count_tokens(header)
    # Long rows are cut to this length whatever the header leaves: a splitter is made for each length, which takes a second.
    least_room = int(most_tokens * (1 - _MOST_HEADER_SHARE))
    if room < least_room:
        yield from split(text, table.start, table.end, most_tokens)
        return
    for i, rows in enumerate(_gathered(text, found.start("rows") + 1, table.end, room)):
        if count_tokens(text[rows.start : rows.end]) <= room:
            yield Span(table.start, rows.end) if i == 0 else Span(rows.start, rows.end, header)
        else:
            yield from (Span(part.start, part.end, header) for part in split(text, rows.start, rows.end, least_room))


def _gathered(text: str, start: int, end: int, room: int) -> Iterator[Span]:
    begin = at = start
    tokens = 0
    while at < end:
        newline = text.find("\n", at, end)
        row_end = newline if newline >= 0 else end
        row = count_tokens(text[at:row_end])
        if tokens and tokens + row > room:
            yield Span(begin, at - 1)
            begin, tokens = at, 0
        tokens += row
        at = row_end + 1
    if begin < end:
        yield Span(begin, end)
