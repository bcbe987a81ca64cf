"""Text of a PDF, page by page, its tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pypdfium2
import pypdfium2.raw as pdfium

from common.errors import UnreadableDocumentError
from services.ingestion.adapters.pdf.flowing import flowing
from services.ingestion.adapters.pdf.grid import columns_match, grids_of
from services.ingestion.adapters.pdf.layout import Table, laid_out
from services.ingestion.adapters.pdf.page import characters_of, has_images, height_of, lines_of, text_of
from services.ingestion.domain.formats import PDF

# Drawn objects that are looked at for the lines of tables, of a page and of the whole file: some take ten microseconds.
_MOST_OBJECTS_OF_PAGE = 20_000
_MOST_OBJECTS = 1_000_000
# A table goes on where it reaches the last part of a page and one with its columns begins in the first part of the next.
_EDGE_OF_PAGE = 0.3
_PAGES_TOLD = 10
_PROGRAM = re.compile(r"^Microsoft (Word|PowerPoint|Excel) - ")
_NO_TITLES = {"(anonymous)", "(unspecified)", "untitled", "document", "powerpoint presentation", "sin título", "documento"}


@dataclass
class PdfText:
    """What was read.

    Attributes:
        pages: The text of each page.
        title: The title that the file gives itself; empty where it gives none.
        pictures: Numbers, from 1, of the pages that show pictures and hold no text: those were scanned.
    """

    pages: list[str] = field(default_factory=list)
    title: str = ""
    pictures: list[int] = field(default_factory=list)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not read, and why."""
        if not self.pictures:
            return ()
        shown = ", ".join(map(str, self.pictures[:_PAGES_TOLD])) + ("…" if len(self.pictures) > _PAGES_TOLD else "")
        where = f"{len(self.pictures)} of {len(self.pages)} pages show pictures and hold no text"
        return (f"{where}: {shown}. Text in pictures needs OCR first.",)


def read_pdf(data: bytes, most_characters: int) -> PdfText:
    """Returns the text of a PDF; no more pages once it is over `most_characters`.

    Raises UnreadableDocumentError for what is damaged or opens with a password only.
    """
    with _opened(data) as document:
        read, reading, length = PdfText(title=_title(document)), _Reading(), 0
        for number in range(len(document)):
            with _page(document, number) as page:
                text = reading.text(page)
                if not text and has_images(page):
                    read.pictures.append(number + 1)
            read.pages.append(text)
            length += len(text)
            if length > most_characters:
                break
        return read


class _Reading:
    """Reads pages in order: a table may go on from one to the next."""

    def __init__(self) -> None:
        self._objects_left = _MOST_OBJECTS
        self._open: Table | None = None

    def text(self, page: pypdfium2.PdfPage) -> str:
        lines = lines_of(page, min(_MOST_OBJECTS_OF_PAGE, self._objects_left))
        self._objects_left = max(0, self._objects_left - lines.looked_at)
        grids = grids_of(lines.across, lines.down)
        parts: list[str | Table] = laid_out(list(characters_of(page)), grids) if grids else [text_of(page)]
        told = "\n\n".join(filter(None, map(_told, self._joined(parts, height_of(page)))))
        return told.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of characters outside the BMP

    def _joined(self, parts: list[str | Table], height: float) -> list[str | Table]:
        """Returns the parts of a page, the header row of the page before above a table that goes on from there."""
        tables = sorted((part for part in parts if isinstance(part, Table)), key=lambda table: -table.grid.ys[0])
        if self._open is not None and tables and tables[0].grid.ys[0] > (1 - _EDGE_OF_PAGE) * height:
            first, header = tables[0], self._open.rows[0]
            if columns_match(first.grid, self._open.grid) and len(first.rows[0]) == len(header) and not first.titles:
                tables[0] = first.under(header)
                parts = [tables[0] if part is first else part for part in parts]
        self._open = tables[-1] if tables and tables[-1].grid.ys[-1] < _EDGE_OF_PAGE * height else None
        return parts


def _told(part: str | Table) -> str:
    return part.markdown() if isinstance(part, Table) else flowing(part)


def _title(document: pypdfium2.PdfDocument) -> str:
    title = " ".join(str(document.get_metadata_value("Title")).split())
    return "" if title.lower() in _NO_TITLES else _PROGRAM.sub("", title)


@contextmanager
def _opened(data: bytes) -> Iterator[pypdfium2.PdfDocument]:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pdfium.FPDF_ERR_PASSWORD:
            raise UnreadableDocumentError(
                "The PDF opens with a password only. Save it without one and send it again.", details={"content_type": PDF}
            ) from error
        raise _damaged() from error
    try:
        if not len(document):
            raise _damaged()
        yield document
    finally:
        document.close()


@contextmanager
def _page(document: pypdfium2.PdfDocument, number: int) -> Iterator[pypdfium2.PdfPage]:
    try:
        page = document[number]
    except pypdfium2.PdfiumError as error:
        raise _damaged() from error
    try:
        yield page
    finally:
        page.close()


def _damaged() -> UnreadableDocumentError:
    return UnreadableDocumentError(
        f"The file cannot be read as {PDF}; it is damaged or of another format.", details={"content_type": PDF}
    )
