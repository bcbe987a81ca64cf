"""Office files: what kreuzberg passes over in them."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from contextlib import suppress
from html import unescape

_DOCUMENT = "word/document.xml"
_WORKBOOK = "xl/workbook.xml"
_MEDIA = "word/media/"
# Tabs and hyphens inside a word's run are elements without text, which would join the words around them.
_UNSAID = ((b"<w:tab/>", b'<w:t xml:space="preserve"> </w:t>'), (b"<w:noBreakHyphen/>", b"<w:t>-</w:t>"))
_MOST_UNPACKED = 64 * 1024 * 1024
# What zipfile raises for archives that are no good; kreuzberg says so of them.
_DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, RuntimeError, ValueError)
_HIDDEN_SHEET = re.compile(r'<sheet\b(?=[^>]*\bstate="(?:hidden|veryHidden)")[^>]*\bname="([^"]*)"')


def with_tabs(data: bytes) -> bytes:
    """Returns a Word file with spaces where it has tabs. What is damaged, or large without measure, is returned as it is."""
    with suppress(*_DAMAGED):
        return _with_tabs(data)
    return data


def _with_tabs(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as given:
        kept = [entry for entry in given.infolist() if not entry.filename.startswith(_MEDIA)]
        if sum(entry.file_size for entry in kept) > _MOST_UNPACKED:
            return data
        text = given.read(_DOCUMENT)
        if not any(element in text for element, _ in _UNSAID):
            return data
        for element, said in _UNSAID:
            text = text.replace(element, said)
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
            for entry in kept:
                copy.writestr(entry.filename, text if entry.filename == _DOCUMENT else given.read(entry))
        return made.getvalue()


def hidden_sheets(data: bytes) -> set[str]:
    """Returns the names of the sheets of a workbook that are not shown."""
    with (
        # All that a damaged or locked archive raises: whoever reads the text says so, this only looks.
        suppress(*_DAMAGED),
        zipfile.ZipFile(io.BytesIO(data)) as given,
        given.open(_WORKBOOK) as workbook,
    ):
        return {unescape(name) for name in _HIDDEN_SHEET.findall(workbook.read(_MOST_UNPACKED).decode("utf-8", "replace"))}
    return set()


def has_notes(data: bytes) -> bool:
    """Returns whether a presentation has notes for who speaks."""
    return b"ppt/notesSlides/" in data
