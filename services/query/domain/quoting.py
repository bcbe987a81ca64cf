"""Cutting passages into quotable statements: sentences, list items, and table rows with their column names."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

# A full stop ends a sentence only before white space and something that can begin one: "1.5 Mbps" and "Sr. López" stay whole
# often enough for quoting.
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"»”’)]*\s+(?=[\"«“¿¡(]*[A-ZÁÉÍÓÚÑÜÀÂÇÈÊÔÖÄ0-9])")
_LIST_MARK = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)])\s+")
_TABLE_ROW = re.compile(r"^\s*\|(.+)\|\s*$")
_TABLE_RULE = re.compile(r"^[\s|:-]+$")
_MARKUP = re.compile(r"\*\*|__|`|\\(?=[.\-()\[\]_*#])")
_SENTENCE_MARKS = (".", "!", "?", "…")
_LONGEST_TITLE = 100
_SHORTEST = 12
_STEM_LETTERS = 5


@dataclass(frozen=True)
class Statement:
    """A piece of a passage that says something on its own.

    Attributes:
        passage: Position of its passage among the passages, from 0.
        text: One line of plain text.
    """

    passage: int
    text: str


def statements(passages: list[str]) -> list[Statement]:
    """Returns the statements of passages, in order, each once."""
    found: dict[str, Statement] = {}
    for i, passage in enumerate(passages):
        for text in _of_passage(passage):
            if len(text) >= _SHORTEST:
                found.setdefault(text.casefold(), Statement(i, text))
    return list(found.values())


def overlaps(question: str, said: list[Statement]) -> list[float]:
    """Returns, for each statement, the share of the question's words it holds, rare words counting more; 0 to 1."""
    words = [_stems(statement.text) for statement in said]
    asked = _stems(question)
    weights = {stem: math.log(1 + len(said) / (1 + sum(stem in other for other in words))) for stem in asked}
    total = sum(weights.values()) or 1.0
    return [sum(weight for stem, weight in weights.items() if stem in other) / total for other in words]


def _stems(text: str) -> set[str]:
    # The first letters stand for a word in all its endings, in any of our languages.
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return {word[:_STEM_LETTERS] for word in re.findall(r"\w{3,}", plain)}


def _of_passage(passage: str) -> Iterator[str]:
    paragraph: list[str] = []
    header: list[str] = []
    for line in [*_untitled(passage.splitlines()), ""]:
        row = _TABLE_ROW.match(line)
        starts_item = _LIST_MARK.match(line) is not None
        if row or starts_item or not line.strip():
            yield from _sentences(paragraph)
            paragraph = []
        if row:
            cells = [_plain(cell) for cell in row.group(1).split("|")]
            if not _TABLE_RULE.match(line):
                if header:
                    yield _row(header, cells)
                header = header or cells
            continue
        header = []
        if line.strip() and not line.lstrip().startswith("#"):
            paragraph.append(_LIST_MARK.sub("", line))


def _untitled(lines: list[str]) -> Iterator[str]:
    """Yields the lines, those blank that are headings of a plain text: in capitals, at a beginning, and no sentence."""
    small = sum(map(str.islower, "".join(lines)))
    if small <= sum(map(str.isupper, "".join(lines))):
        yield from lines  # all of it is in capitals
        return
    runs = [(capitals, list(run)) for capitals, run in groupby(lines, _in_capitals)]
    before = ""
    for number, (capitals, run) in enumerate(runs):
        after = runs[number + 1][1][0] if number + 1 < len(runs) else ""
        begins = not before.strip() or before.rstrip().endswith(_SENTENCE_MARKS)
        yield from [""] * len(run) if capitals and begins and _is_title(run, after) else run
        before = run[-1]


def _in_capitals(line: str) -> bool:
    return line.isupper() and not _TABLE_ROW.match(line)


def _is_title(run: list[str], after: str) -> bool:
    mark = _LIST_MARK.match(run[0])
    text = " ".join(run)[mark.end() if mark else 0 :].strip()
    if mark and (not mark.group().strip()[0].isdigit() or len(run) > 1 or not after.strip() or _LIST_MARK.match(after)):
        return False  # an item of a list
    # A number, or what follows a colon, may be just what is asked for.
    says_something = any(map(str.isdigit, text)) or ": " in text or text.endswith(_SENTENCE_MARKS)
    return len(text) <= _LONGEST_TITLE and not says_something


def _sentences(lines: list[str]) -> Iterator[str]:
    text = _plain(" ".join(lines))
    yield from (sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip())


def _row(header: list[str], cells: list[str]) -> str:
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(header, cells, strict=False) if cell)


def _plain(text: str) -> str:
    return " ".join(_MARKUP.sub("", text).split())
