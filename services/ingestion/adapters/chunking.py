"""Cuts a text into passages: never across a heading, at sentence ends, measured in the model's tokens.

Runs in the reading process.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache

from semantic_text_splitter import MarkdownSplitter

from services.ingestion.adapters.tokenizer import load_tokenizer
from services.ingestion.domain.records import Extracted, Passage

_HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$", re.MULTILINE)
_PATH_SEPARATOR = " › "


def chunk(extracted: Extracted, most_tokens: int) -> list[Passage]:
    """Returns the passages of a text, in order, each at most `most_tokens` long where its sentences allow it."""
    splitter = _splitter(most_tokens)
    text = extracted.text
    passages = []
    for heading, start, end in _sections(text):
        for offset, piece in splitter.chunk_indices(text[start:end]):
            first = start + offset
            passages.append(Passage(piece, heading, _page(extracted, first), first, first + len(piece)))
    return passages


@cache
def _splitter(most_tokens: int) -> MarkdownSplitter:
    return MarkdownSplitter.from_huggingface_tokenizer(load_tokenizer(), most_tokens)


def _sections(text: str) -> Iterator[tuple[str, int, int]]:
    """Yields each section's heading path and the span of its body.

    A heading with nothing below it is its own body: it may be all the document says on the matter.
    """
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    yield "", 0, headings[0].start() if headings else len(text)
    path: list[tuple[int, str]] = []
    for i, (heading, end) in enumerate(zip(headings, ends, strict=False)):
        level = len(heading.group(1))
        path = [above for above in path if above[0] < level]
        has_parts = i + 1 < len(headings) and len(headings[i + 1].group(1)) > level
        if not has_parts and not text[heading.end() : end].strip():
            yield _joined(path), heading.start(2), heading.end(2)
        path.append((level, heading.group(2)))
        yield _joined(path), heading.end(), end


def _joined(path: list[tuple[int, str]]) -> str:
    return _PATH_SEPARATOR.join(name for _, name in path)


def _page(extracted: Extracted, offset: int) -> int | None:
    return bisect_right(extracted.page_starts, offset) or None
