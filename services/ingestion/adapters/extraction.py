"""Text out of bytes, by kreuzberg. Runs in the reading process."""

from __future__ import annotations

import re

import kreuzberg

from common.errors import UnreadableDocumentError
from services.ingestion.domain.formats import HTML, MARKDOWN, PDF, PLAIN
from services.ingestion.domain.records import Extracted

_CONFIG = kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False, pages=kreuzberg.PageConfig(extract_pages=True))
_TEXT = {PLAIN, MARKDOWN, HTML}
# kreuzberg turns a page's <title> into front matter and then into a heading above the page.
_FRONT_MATTER = re.compile(r"\A---\n\n## title: [^\n]*\n+")
_FIRST_HEADING = re.compile(r"^#{1,2} +(.+?) *#*$", re.MULTILINE)
_MOST_CONTROL_SHARE = 0.01
_LONGEST_TITLE = 100


def extract(data: bytes, content_type: str) -> Extracted:
    """Returns a document's text, as Markdown where the format has structure.

    Raises:
        UnreadableDocumentError: The bytes are not of that type, or cannot be decoded.
    """
    if content_type in _TEXT:
        text = decode(data)
        if content_type != HTML:
            return Extracted(text, _first_heading(text) if content_type == MARKDOWN else _first_line(text))
        data = text.encode()
    try:
        result = kreuzberg.extract_bytes_sync(data, content_type, config=_CONFIG)
    except kreuzberg.KreuzbergError as error:
        raise UnreadableDocumentError(
            f"The file cannot be read as {content_type}; it is damaged, encrypted or of another format.",
            details={"content_type": content_type},
        ) from error
    if content_type == PDF:
        return _paged([str(page["content"]) for page in result.pages or ()], str(result.metadata.get("title") or ""))
    text = _FRONT_MATTER.sub("", result.content)
    return Extracted(text, str(result.metadata.get("title") or "") or _first_heading(text))


def decode(data: bytes) -> str:
    """Returns text in UTF-8 or UTF-16 with its mark, else in Windows-1252. Raises UnreadableDocumentError for binary data."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if data.startswith(mark):
            try:
                return _checked(data.decode(encoding))
            except UnicodeDecodeError:
                continue
    return _checked(data.decode("cp1252", "replace"))


def _checked(text: str) -> str:
    control = sum(1 for character in text if character < " " and character not in "\t\n\r\f")
    if control > _MOST_CONTROL_SHARE * len(text):
        raise UnreadableDocumentError("The file is declared as text but holds binary data. Send it with its real content type.")
    return text.replace("\r\n", "\n").replace("\0", " ")


def _first_heading(text: str) -> str:
    found = _FIRST_HEADING.search(text)
    return found.group(1) if found else ""


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0].strip()
    return line if len(line) <= _LONGEST_TITLE and not line.endswith(".") else ""


def _paged(pages: list[str], title: str) -> Extracted:
    parts, starts, length = [], [], 0
    for page in pages:
        text = flowing(page) + "\n\n"
        parts.append(text)
        starts.append(length)
        length += len(text)
    return Extracted("".join(parts), title, tuple(starts))


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
