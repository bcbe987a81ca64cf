"""Text out of bytes, by kreuzberg. Runs in the reading process."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence

import kreuzberg

from common.errors import UnreadableDocumentError
from services.ingestion.adapters.decoding import decode
from services.ingestion.domain.errors import DocumentTooLongError
from services.ingestion.domain.formats import CSV, EML, HTML, JSON, MARKDOWN, PDF, PLAIN, PPTX, XLSX
from services.ingestion.domain.texts import Extracted

_TEXT = {PLAIN, MARKDOWN, HTML, CSV, JSON}
# kreuzberg turns a page's <title> into front matter and then into a heading above the page.
_FRONT_MATTER = re.compile(r"\A---\n\n## title: [^\n]*\n+")
_FIRST_HEADING = re.compile(r"^#{1,2} +(.+?) *#*$", re.MULTILINE)
_SHEET = re.compile(r"^## (.+)$", re.MULTILINE)
_SUBJECT = re.compile(r"\A\*\*Subject\*\*: [^\n]*\n+")
_ESCAPED = re.compile(r"\\([^\w\s])")
_LONGEST_TITLE = 100


def extract(data: bytes, content_type: str, most_characters: int = 10_000_000) -> Extracted:
    """Returns a document's text, as Markdown where the format has structure.

    Raises:
        UnreadableDocumentError: The bytes are not of that type, or cannot be decoded.
        DocumentTooLongError: The text is longer than `most_characters`.
    """
    extracted = _extract(data, content_type)
    if len(extracted.text) > most_characters:
        raise DocumentTooLongError(
            f"The text is longer than {most_characters:,} characters. Split the file, or raise MALLA_EXTRACT_MAX_CHARACTERS.",
            details={"limit": "document_characters", "allowed": most_characters, "actual": len(extracted.text)},
        )
    return extracted


def _extract(data: bytes, content_type: str) -> Extracted:
    if content_type in _TEXT:
        text = decode(data)
        if content_type == PLAIN:
            return Extracted(text, _first_line(text))
        if content_type == MARKDOWN:
            return Extracted(text, _first_heading(text))
        data = text.encode()
    # What stands between slides must be something that no document holds.
    marker = f"slide{secrets.token_hex(8)}n"
    try:
        result = kreuzberg.extract_bytes_sync(data, content_type, config=_config(content_type, marker))
    except kreuzberg.KreuzbergError as error:
        raise UnreadableDocumentError(
            f"The file cannot be read as {content_type}; it is damaged, encrypted or of another format.",
            details={"content_type": content_type},
        ) from error
    return _SHAPES.get(content_type, _flat)(result, marker)


def _config(content_type: str, marker: str) -> kreuzberg.ExtractionConfig:
    pages = kreuzberg.PageConfig(
        extract_pages=True, insert_page_markers=content_type == PPTX, marker_format=f"\n\n{marker}{{page_num}}\n\n"
    )
    return kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False, pages=pages)


def _flat(result: kreuzberg.ExtractionResult, _marker: str) -> Extracted:
    text = _FRONT_MATTER.sub("", result.content)
    return Extracted(text, str(result.metadata.get("title") or "") or _first_heading(text))


def _document(result: kreuzberg.ExtractionResult, _marker: str) -> Extracted:
    """A PDF: its pages, with their lines joined into sentences."""
    pages = [str(page["content"]) for page in result.pages or ()]
    return _paged([flowing(page) + "\n\n" for page in pages], str(result.metadata.get("title") or ""))


def _slides(result: kreuzberg.ExtractionResult, marker: str) -> Extracted:
    before, *rest = re.split(rf"\s*{marker}(\d+)\s*", result.content)
    slides = dict(zip(map(int, rest[::2]), rest[1::2], strict=True))
    pages = [slides.get(number, "") + "\n\n" for number in range(1, max(slides, default=0) + 1)] or [before]
    extracted = _paged(pages, str(result.metadata.get("title") or ""))
    return extracted if extracted.title else Extracted(extracted.text, _first_heading(extracted.text), extracted.page_starts)


def _sheets(result: kreuzberg.ExtractionResult, _marker: str) -> Extracted:
    """A workbook: each sheet under its name. An empty sheet has no text but keeps its number."""
    names: Sequence[str] = result.metadata.get("sheet_names") or ()
    headings = [(found.start(), _plain(found.group(1))) for found in _SHEET.finditer(result.content)]
    starts: list[int] = []
    for name in names:
        if headings and headings[0][1] == _plain(name):
            starts.append(headings.pop(0)[0])
        else:
            starts.append(headings[0][0] if headings else len(result.content))
    return Extracted(result.content, str(result.metadata.get("title") or ""), tuple(starts))


def _mail(result: kreuzberg.ExtractionResult, _marker: str) -> Extracted:
    """A mail: its subject is its title and heads its text."""
    subject = " ".join(str(result.metadata.get("subject") or "").split())
    text = _SUBJECT.sub("", result.content)
    return Extracted(f"# {subject}\n\n{text}" if subject and text.strip() else text, subject)


_SHAPES: dict[str, Callable[[kreuzberg.ExtractionResult, str], Extracted]] = {
    EML: _mail,
    PDF: _document,
    PPTX: _slides,
    XLSX: _sheets,
}


def _plain(name: str) -> str:
    return " ".join(_ESCAPED.sub(r"\1", name).split())


def _first_heading(text: str) -> str:
    found = _FIRST_HEADING.search(text)
    return found.group(1) if found else ""


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0].strip()
    return line if len(line) <= _LONGEST_TITLE and not line.endswith(".") else ""


def _paged(pages: Sequence[str], title: str) -> Extracted:
    starts, length = [], 0
    for page in pages:
        starts.append(length)
        length += len(page)
    return Extracted("".join(pages), title, tuple(starts))


def flowing(page: str) -> str:
    """Joins the lines of a page into sentences: a PDF keeps where lines end, not why."""
    lines = [line.strip() for line in page.replace("\r", "\n").split("\n")]
    text = ""
    for line in filter(None, lines):
        if not text:
            text = line
        elif text.endswith("-") and text[-2:-1].isalpha() and line[0].islower():
            text = text[:-1] + line
        elif text[-1] not in ".:;?!" and (line[0].islower() or line[0].isdigit()):
            text += " " + line
        else:
            text += "\n" + line
    return text
