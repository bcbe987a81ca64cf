"""Text out of bytes: PDF by pdfium, mails by Python's own parser, the rest by kreuzberg. Runs in the reading process."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from html import unescape

import kreuzberg

from common.errors import UnreadableDocumentError
from services.ingestion.adapters.decoding import decode
from services.ingestion.adapters.mail import read_mail
from services.ingestion.adapters.markdown import (
    with_marked_headings,
    without_escapes,
    without_front_matter,
    without_images,
)
from services.ingestion.adapters.office import has_notes, hidden_sheets, restored, with_all_words
from services.ingestion.adapters.pdf import read_pdf
from services.ingestion.domain.errors import DocumentTooLongError
from services.ingestion.domain.formats import CSV, DOCX, EML, HTML, JSON, MARKDOWN, PDF, PLAIN, PPTX, XLSX
from services.ingestion.domain.normalising import normalised
from services.ingestion.domain.texts import Extracted

_TEXT = {PLAIN, MARKDOWN, HTML, CSV, JSON}
# kreuzberg turns a page's <title> into front matter and then into a heading above the page.
_FRONT_MATTER = re.compile(r"\A---\n\n## title: [^\n]*\n+")
_FIRST_HEADING = re.compile(r"^#{1,2} +(.+?) *#*$", re.MULTILINE)
_SHEET = re.compile(r"^## (.+)$", re.MULTILINE)
_NOTES = "\n\nNotes:\n\n"
# Dates of a workbook come with the time of day, which is midnight where only the day was meant.
_MIDNIGHT = re.compile(r"(?<=\| )(\d{4}-\d\d-\d\d) 00:00:00(?= \|)")
_UNREAD = {
    # By this first line spreadsheet programs tell each other how cells are parted.
    CSV: re.compile(r"\Asep=.\n", re.IGNORECASE),
    # Of each drawing the words "SVG Image" would stay.
    HTML: re.compile(r"<svg\b[^<>]*>(?:(?!<svg\b).)*?</svg\s*>", re.IGNORECASE | re.DOTALL),
}
_LONGEST_TITLE = 100
_LEAST_RECORDS = 2


def extract(data: bytes, content_type: str, most_characters: int = 10_000_000) -> Extracted:
    """Returns a document's text, as Markdown where the format has structure.

    Raises:
        UnreadableDocumentError: The bytes are not of that type, or cannot be decoded.
        DocumentTooLongError: The text is longer than `most_characters`.
    """
    extracted = normalised(_extract(data, content_type, most_characters))
    if len(extracted.text) > most_characters:
        raise DocumentTooLongError(
            f"The text is longer than {most_characters:,} characters. Split the file, or raise MALLA_EXTRACT_MAX_CHARACTERS.",
            details={"limit": "document_characters", "allowed": most_characters, "actual": len(extracted.text)},
        )
    return extracted


def _extract(data: bytes, content_type: str, most_characters: int) -> Extracted:
    if content_type == PDF:
        return _pdf(data, most_characters)
    if content_type == EML:
        return read_mail(data, extract, most_characters)
    if content_type in _TEXT:
        text = decode(data)
        if content_type == PLAIN:
            return Extracted(text, _first_line(text))
        if content_type == MARKDOWN:
            return _markdown(text)
        if content_type == JSON and (records := _records(text)) is not None:
            return records
        data = _UNREAD[content_type].sub("", text).encode() if content_type in _UNREAD else text.encode()
    elif content_type == DOCX:
        data = with_all_words(data)
    # What stands between slides must be something that no document holds.
    marker = f"slide{secrets.token_hex(8)}n"
    try:
        result = kreuzberg.extract_bytes_sync(data, content_type, config=_config(content_type, marker))
        if content_type == PPTX and has_notes(data):
            spoken = kreuzberg.extract_bytes_sync(data, content_type, config=_config(content_type, marker, "plain"))
            return _slides(result, marker, _notes(spoken, marker))
    except kreuzberg.KreuzbergError as error:
        raise UnreadableDocumentError(
            f"The file cannot be read as {content_type}; it is damaged, encrypted or of another format.",
            details={"content_type": content_type},
        ) from error
    if content_type == XLSX:
        return _sheets(result, hidden_sheets(data))
    if content_type == PPTX:
        return _slides(result, marker, {})
    return _flat(result)


def _records(text: str) -> Extracted | None:
    """Returns the records of a JSON list, or of JSON lines, one a line; None for other JSON, and for what is none."""
    try:
        records = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in _lines(text)]
    except (ValueError, RecursionError):
        return None
    if len(records) < _LEAST_RECORDS or not all(isinstance(record, dict) for record in records):
        return None
    return Extracted("\n".join(f"- {json.dumps(record, ensure_ascii=False)}" for record in records))


def _lines(text: str) -> list[str]:
    """Returns the lines of JSON lines, of which each is an object; none of other JSON."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if all(line.startswith("{") and line.endswith("}") for line in lines) else []


def _markdown(text: str) -> Extracted:
    text, title = without_front_matter(text)
    text = with_marked_headings(text)
    return Extracted(text, title or _first_heading(text))


def _config(content_type: str, marker: str, form: str = "markdown") -> kreuzberg.ExtractionConfig:
    pages = kreuzberg.PageConfig(
        extract_pages=True, insert_page_markers=content_type == PPTX, marker_format=f"\n\n{marker}{{page_num}}\n\n"
    )
    return kreuzberg.ExtractionConfig(output_format=form, use_cache=False, pages=pages)


def _pdf(data: bytes, most_characters: int) -> Extracted:
    read = read_pdf(data, most_characters)
    if not any(read.pages):
        raise UnreadableDocumentError(
            f"The PDF has no text on its {len(read.pages)} pages: it was scanned, or drawn. Recognise its text (OCR) first and "
            "send it again; that is not done here.",
            details={"content_type": PDF},
        )
    return replace(_paged([page + "\n\n" for page in read.pages], read.title), warnings=read.warnings)


def _flat(result: kreuzberg.ExtractionResult) -> Extracted:
    text = without_escapes(restored(without_images(_FRONT_MATTER.sub("", result.content))))
    # kreuzberg gives a page's title as it stands in the HTML.
    return Extracted(text, unescape(str(result.metadata.get("title") or "")) or _first_heading(text))


def _slides(result: kreuzberg.ExtractionResult, marker: str, notes: Mapping[int, str]) -> Extracted:
    """A presentation: its slides, each with what is to be said with it."""
    slides = {number: without_escapes(without_images(text)) for number, text in _by_slide(result, marker).items()}
    slides = {number: "\n\n".join(filter(None, (text, notes.get(number)))) for number, text in slides.items()}
    pages = [slides.get(number, "") + "\n\n" for number in range(1, max(slides, default=0) + 1)] or [
        without_escapes(result.content)
    ]
    extracted = _paged(pages, str(result.metadata.get("title") or ""))
    return extracted if extracted.title else replace(extracted, title=_first_heading(extracted.text))


def _by_slide(result: kreuzberg.ExtractionResult, marker: str) -> dict[int, str]:
    _, *rest = re.split(rf"\s*{marker}(\d+)\s*", result.content)
    return dict(zip(map(int, rest[::2]), rest[1::2], strict=True))


def _notes(result: kreuzberg.ExtractionResult, marker: str) -> dict[int, str]:
    """Returns what is to be said with each slide, which only the plain form of a presentation has."""
    parts = {number: text.rpartition(_NOTES) for number, text in _by_slide(result, marker).items()}
    return {number: notes.strip() for number, (_, found, notes) in parts.items() if found}


def _sheets(result: kreuzberg.ExtractionResult, hidden: Container[str]) -> Extracted:
    """A workbook: each sheet that is shown, under its name. One that is empty or hidden has no text but keeps its number."""
    names: Sequence[str] = result.metadata.get("sheet_names") or ()
    text = _MIDNIGHT.sub(r"\1", result.content)
    headings = [(found.start(), _plain(found.group(1))) for found in _SHEET.finditer(text)]
    pages: list[str] = []
    for name in names:
        page = ""
        if headings and headings[0][1] == _plain(name):
            start, _ = headings.pop(0)
            page = text[start : headings[0][0] if headings else len(text)]
        pages.append("" if name in hidden else without_escapes(page))
    if not names:
        pages = [without_escapes(text)]
    told = tuple(f"The sheet '{name}' is hidden and was not read." for name in names if name in hidden)
    return replace(_paged(pages, str(result.metadata.get("title") or "")), warnings=told)


def _plain(name: str) -> str:
    # No sheet's name has a backslash but those that kreuzberg puts before punctuation.
    return " ".join(name.replace("\\", "").split())


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
