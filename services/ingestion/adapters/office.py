"""Office files: what kreuzberg passes over in them."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from contextlib import suppress
from html import unescape

# The document, its notes, its headers.
_TEXTS = re.compile(r"word/[^/]+\.xml")
_WORKBOOK = "xl/workbook.xml"
_MEDIA = "word/media/"
# Tabs, line ends and hyphens inside a word's run are elements without text, which would join the words around them.
_GAP = re.compile(rb"<w:(?:tab|cr|ptab(?: [^<>]*)?)/>")
_HYPHEN = b"<w:noBreakHyphen/>"
# kreuzberg drops them: `R&amp;D` is read as `RD` (its issue 1242, never mended under that name). What cannot stand in XML
# unescaped is carried through by noncharacters of Unicode, which no document holds.
_ENTITY = re.compile(rb"&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});")
_STANDS_IN = {character: chr(0xFDD0 + i) for i, character in enumerate("&<>\"'")}
_STOOD_FOR = str.maketrans({stand_in: character for character, stand_in in _STANDS_IN.items()})
_MOST_UNPACKED = 64 * 1024 * 1024
# What zipfile raises for archives that are no good; kreuzberg says so of them.
_DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, RuntimeError, ValueError)
_HIDDEN_SHEET = re.compile(r'<sheet\b(?=[^>]*\bstate="(?:hidden|veryHidden)")[^>]*\bname="([^"]*)"')


def with_all_words(data: bytes) -> bytes:
    """Returns a Word file in a form of which kreuzberg reads everything: spaces for tabs, stand-ins for what XML escapes.

    `restored` puts back what the stand-ins stand for. What is damaged, or large without measure, is returned as it is.
    """
    with suppress(*_DAMAGED):
        return _with_all_words(data)
    return data


def restored(text: str) -> str:
    """Returns what kreuzberg read of a file that `with_all_words` made, with every character that was in it."""
    return text.translate(_STOOD_FOR)


def _with_all_words(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as given:
        kept = [entry for entry in given.infolist() if not entry.filename.startswith(_MEDIA)]
        if sum(entry.file_size for entry in kept) > _MOST_UNPACKED:
            return data
        parts = {entry: given.read(entry) for entry in kept}
    said = {entry: _said(part) if _TEXTS.fullmatch(entry.filename) else part for entry, part in parts.items()}
    if said == parts:
        return data
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
        for entry, part in said.items():
            copy.writestr(entry.filename, part)
    return made.getvalue()


def _said(part: bytes) -> bytes:
    part = _GAP.sub(b'<w:t xml:space="preserve"> </w:t>', part).replace(_HYPHEN, b"<w:t>-</w:t>")
    return _ENTITY.sub(_character, part)


def _character(found: re.Match[bytes]) -> bytes:
    character = unescape(found[0].decode())
    return _STANDS_IN.get(character, character).encode()


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
