"""The formats that can be ingested, and how a file's format is known: declared, by its ending, by its content."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from common.errors import UnreadableDocumentError, UnsupportedContentError

_OFFICE = "application/vnd.openxmlformats-officedocument."
CSV = "text/csv"
DOCX = _OFFICE + "wordprocessingml.document"
EML = "message/rfc822"
HTML = "text/html"
JSON = "application/json"
MARKDOWN = "text/markdown"
PDF = "application/pdf"
PLAIN = "text/plain"
PPTX = _OFFICE + "presentationml.presentation"
XLSX = _OFFICE + "spreadsheetml.sheet"

_BY_ENDING = {
    ".txt": PLAIN,
    ".text": PLAIN,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".csv": CSV,
    ".json": JSON,
    ".jsonl": JSON,
    ".ndjson": JSON,
    ".eml": EML,
    ".pdf": PDF,
    ".docx": DOCX,
    ".pptx": PPTX,
    ".xlsx": XLSX,
}
# What HTTP clients send when they do not know: the file's ending says more, and then its content.
_UNKNOWN = {"", "application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream"}
_ALIASES = {
    "text/x-markdown": MARKDOWN,
    "application/xhtml+xml": HTML,
    "application/x-pdf": PDF,
    "application/csv": CSV,
    "text/x-csv": CSV,
    "text/json": JSON,
    "application/jsonl": JSON,
    "application/x-ndjson": JSON,
    "application/eml": EML,
}
# Spreadsheet programs register themselves for CSV, so that their systems declare it as theirs; office files are archives.
_ALIASES_BY_ENDING = {
    ("application/vnd.ms-excel", ".csv"): CSV,
    **{("application/zip", ending): _BY_ENDING[ending] for ending in (".docx", ".pptx", ".xlsx")},
}

SUPPORTED = tuple(dict.fromkeys(_BY_ENDING.values()))

_PDF = b"%PDF-"
_RTF = b"{\\rtf"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_OFFICE_PARTS = {DOCX: b"word/", PPTX: b"ppt/", XLSX: b"xl/"}
_BINARY = {PDF, *_OFFICE_PARTS}
_PDF_WITHIN_BYTES = 1024
_SNIFFED_BYTES = 4096
_HTML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_HEADER = re.compile(
    rb"(Received|Return-Path|From|To|Subject|Date|Message-ID|MIME-Version|Delivered-To|X-[\w-]+): ?\S", re.IGNORECASE
)
_LEAST_HEADERS = 2
_JSON = re.compile(rb"\s*[\[{]\s*([\"\[{\]}]|-?\d|true|false|null)")
_MARKDOWN = re.compile(rb"^#{1,6} \S", re.MULTILINE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def content_type_of(declared: str, filename: str) -> str:
    """Returns the media type of a file from what the client declared, else from the file's ending; "" where neither says.

    Raises UnsupportedContentError when a type is declared that cannot be ingested.
    """
    media_type = declared.partition(";")[0].strip().lower()
    ending = PurePosixPath(filename).suffix.lower()
    media_type = _ALIASES_BY_ENDING.get((media_type, ending), _ALIASES.get(media_type, media_type))
    if media_type in _UNKNOWN:
        return _BY_ENDING.get(ending, "")
    if media_type in SUPPORTED:
        return media_type
    raise _unsupported(declared, declared)


def settled_type(content_type: str, filename: str, beginning: bytes) -> str:
    """Returns the media type of a file whose first bytes are known.

    What the bytes show outweighs what was said; what was said decides among texts, which look alike.

    Args:
        content_type: What was declared, or is known from the file's ending; "" for neither.
        filename: For the message of a refusal.
        beginning: The first bytes, at least 4 KiB where there are as many; more lets more office files be told apart.

    Raises:
        UnreadableDocumentError: The bytes are none, or cannot be of the type.
        UnsupportedContentError: Nothing says what they are, or they are of a format that cannot be ingested.
    """
    if not beginning:
        raise UnreadableDocumentError("The document is empty. Send its bytes as the body of the request.")
    shown = _binary_type(beginning, content_type) or (_marked_up_type(beginning) if content_type in {"", *_BINARY} else "")
    if shown:
        return shown
    if content_type in _OFFICE_PARTS and beginning.startswith(_ZIP):
        return content_type  # the parts that would tell come later
    if content_type in _OFFICE_PARTS and beginning.startswith(_OLD_OFFICE):
        raise UnreadableDocumentError(
            "The file is locked with a password, or of the format from before 2007. Save it anew, without a password.",
            details={"content_type": content_type},
        )
    if content_type in _BINARY:
        raise UnreadableDocumentError(
            f"The bytes are not {content_type}: the file does not begin as one. Check the file, or its declared type.",
            details={"content_type": content_type},
        )
    if beginning.startswith(_RTF):
        raise _unsupported(filename, "application/rtf")
    if content_type:
        return content_type
    if _is_binary(beginning):
        raise _unsupported(filename, "")
    return MARKDOWN if _MARKDOWN.search(beginning[:_SNIFFED_BYTES]) else PLAIN


def _binary_type(beginning: bytes, content_type: str) -> str:
    if beginning.startswith(_ZIP):
        return next((kind for kind, part in _OFFICE_PARTS.items() if part in beginning), "")
    # Some writers put a few bytes before it; a text that speaks of it does not begin with it.
    within = _PDF_WITHIN_BYTES if content_type in {"", *_BINARY} else len(_PDF)
    return PDF if _PDF in beginning[:within] else ""


def _marked_up_type(beginning: bytes) -> str:
    head = beginning[:_SNIFFED_BYTES].removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(head):
        return HTML
    if _JSON.match(head):
        return JSON
    lines = head.splitlines()
    headers = next((i for i, line in enumerate(lines) if not _HEADER.match(line)), len(lines))
    return EML if headers >= _LEAST_HEADERS else ""


def _is_binary(beginning: bytes) -> bool:
    head = beginning[:_SNIFFED_BYTES]
    return not head.startswith(_UTF16) and sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head) > len(head) // 100


def _unsupported(shown: str, declared: str) -> UnsupportedContentError:
    return UnsupportedContentError(
        f"'{shown or 'nothing'}' cannot be ingested. Send one of: {', '.join(SUPPORTED)}; or a file name that ends in one of: "
        f"{', '.join(_BY_ENDING)}.",
        content_type=declared,
        supported=SUPPORTED,
    )
