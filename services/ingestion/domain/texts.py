"""What the reading process gives back. Imports next to nothing: that process is started again after each bad file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Extracted:
    """The text of a document.

    Attributes:
        text: Markdown where the format has structure, else plain text.
        title: What the document calls itself; empty where it does not say.
        page_starts: Offset in `text` at which each page, slide or sheet begins, in order; empty for formats without them.
        warnings: What of the document was not read, and why; one sentence each.
        passages: The text cut into chunks, where that was done at once.
    """

    text: str
    title: str = ""
    page_starts: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    passages: tuple[Passage, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Passage:
    """A chunk of a document's text.

    Attributes:
        text: `extracted.text[start_offset:end_offset]`, under the table's header row where it continues a table.
        heading: The headings above it, joined by " › ".
        page: The page, slide or sheet it begins on, from 1; None for formats without them.
    """

    text: str
    heading: str
    page: int | None
    start_offset: int
    end_offset: int
