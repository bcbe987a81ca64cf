"""Cuts a text into passages: never across a heading, at sentence ends, tables whole, measured in the model's tokens.

Runs in the reading process.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise

from semantic_text_splitter import MarkdownSplitter

from services.ingestion.adapters.tables import Span, cut_table, tables_in
from services.ingestion.adapters.tokenizer import count_tokens, load_tokenizer
from services.ingestion.domain.texts import Extracted, Passage

# With marks before it, or alone between an empty line and a line of marks.
_HEADING = re.compile(
    r"^(?P<before>#{1,6}) +(?P<name>.+?) *#*$"
    r"|(?:\A|(?<=\n\n))(?P<alone>[^\s|#>`~=-][^\n]{0,199})\n(?P<below>=+|-{3,})[ \t]*$",
    re.MULTILINE,
)
# What stands in it is code, whose comments look like headings.
_CODE = re.compile(r"^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?…][\"'»”)\]]*\s+|\n\s*\n")
_PATH_SEPARATOR = " › "
# The splitter weighs all of what it is given against each cut; pieces of this size keep the cost in line with the length.
_MOST_CHARACTERS_AT_ONCE = 16_000
_PLACES_TO_CUT = ("\n\n", "\n", ". ", " ")


def chunk(extracted: Extracted, most_tokens: int, overlap_tokens: int = 0) -> list[Passage]:
    """Returns the passages of a text, in order.

    Args:
        extracted: The text.
        most_tokens: The longest a passage may be. A table that is longer is cut at its rows, each piece under the header row.
        overlap_tokens: The most of the passage before, in whole sentences, that a passage may begin with. Never across a
            heading or a page, out of a table or into one.
    """
    text = extracted.text
    passages = []
    for heading, start, end, page in _on_pages(extracted, _sections(text)):
        for span in _cut(text, start, end, most_tokens, overlap_tokens):
            passages.append(Passage(span.above + text[span.start : span.end], heading, page, span.start, span.end))
    return passages


def _on_pages(extracted: Extracted, sections: Iterable[tuple[str, int, int]]) -> Iterator[tuple[str, int, int, int | None]]:
    """Yields the sections cut where pages begin, so that a passage is cited with the one page it is on."""
    starts = extracted.page_starts
    for heading, start, end in sections:
        inside = starts[bisect_right(starts, start) : bisect_left(starts, end)]
        for first, last in pairwise((start, *dict.fromkeys(inside), end)):
            yield heading, first, last, bisect_right(starts, first) or None


def _cut(text: str, start: int, end: int, most_tokens: int, overlap_tokens: int) -> Iterator[Span]:
    spans = _split(text, start, end, most_tokens - overlap_tokens)
    broken = [table for table in tables_in(text, start, end) if any(table.start < span.start < table.end for span in spans)]
    if not broken:
        yield from _overlapped(text, spans, overlap_tokens)
        return
    for table in broken:
        yield from _overlapped(text, _split(text, start, table.start, most_tokens - overlap_tokens), overlap_tokens)
        yield from cut_table(text, table, most_tokens, _split)
        start = table.end
    yield from _overlapped(text, _split(text, start, end, most_tokens - overlap_tokens), overlap_tokens)


def _split(text: str, start: int, end: int, most_tokens: int) -> list[Span]:
    splitter = _splitter(most_tokens)
    return [
        Span(first + offset, first + offset + len(piece))
        for first, last in _stretches(text, start, end)
        for offset, piece in splitter.chunk_indices(text[first:last])
    ]


def _stretches(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > _MOST_CHARACTERS_AT_ONCE:
        middle, limit = start + _MOST_CHARACTERS_AT_ONCE // 2, start + _MOST_CHARACTERS_AT_ONCE
        found = next((at + len(mark) for mark in _PLACES_TO_CUT if (at := text.rfind(mark, middle, limit)) >= 0), limit)
        yield start, found
        start = found
    yield start, end


def _overlapped(text: str, spans: list[Span], overlap_tokens: int) -> Iterator[Span]:
    for i, span in enumerate(spans):
        before = spans[i - 1] if i and overlap_tokens else None
        yield span if before is None else Span(_sentence_start(text, before, span.start, overlap_tokens), span.end)


def _sentence_start(text: str, before: Span, start: int, most_tokens: int) -> int:
    """Returns where the last sentences of the span before begin, as many as fit; `start` where none does."""
    ends = [before.start, *(found.end() for found in _SENTENCE_END.finditer(text, before.start, before.end))]
    for at in ends:
        if at > before.start and at < before.end and count_tokens(text[at:start]) <= most_tokens:
            return at
    return start


@cache
def _splitter(most_tokens: int) -> MarkdownSplitter:
    return MarkdownSplitter.from_huggingface_tokenizer(load_tokenizer(), most_tokens)


def _sections(text: str) -> Iterator[tuple[str, int, int]]:
    """Yields each section's heading path and the span of its body.

    A heading with nothing below it is its own body: it may be all the document says on the matter.
    """
    headings = _headings(text)
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    yield "", 0, headings[0].start() if headings else len(text)
    path: list[tuple[int, str]] = []
    for i, (heading, end) in enumerate(zip(headings, ends, strict=False)):
        level, name = _level(heading), "alone" if heading["below"] else "name"
        path = [above for above in path if above[0] < level]
        has_parts = i + 1 < len(headings) and _level(headings[i + 1]) > level
        if not has_parts and not text[heading.end() : end].strip():
            yield _joined(path), heading.start(name), heading.end(name)
        path.append((level, heading[name].strip()))
        yield _joined(path), heading.end(), end


def _headings(text: str) -> list[re.Match[str]]:
    codes = list(_CODE.finditer(text))
    starts = [code.start() for code in codes]

    def is_text(heading: re.Match[str]) -> bool:
        before = bisect_right(starts, heading.start())
        return not before or heading.start() >= codes[before - 1].end()

    return [heading for heading in _HEADING.finditer(text) if is_text(heading)]


def _level(heading: re.Match[str]) -> int:
    return (1 if heading["below"].startswith("=") else 2) if heading["below"] else len(heading["before"])


def _joined(path: list[tuple[int, str]]) -> str:
    return _PATH_SEPARATOR.join(name for _, name in path)
