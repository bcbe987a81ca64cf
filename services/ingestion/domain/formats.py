"""The formats that can be ingested, and how a file's format is known."""

from __future__ import annotations

from pathlib import PurePosixPath

from common.errors import UnreadableDocumentError, UnsupportedContentError

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PDF = "application/pdf"
HTML = "text/html"
MARKDOWN = "text/markdown"
PLAIN = "text/plain"

_BY_ENDING = {
    ".txt": PLAIN,
    ".text": PLAIN,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".pdf": PDF,
    ".docx": DOCX,
}
# What HTTP clients send when they do not know: the file's ending says more.
_UNKNOWN = {"", "application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream"}
_ALIASES = {"text/x-markdown": MARKDOWN, "application/xhtml+xml": HTML, "application/x-pdf": PDF}
_MAGIC = {PDF: b"%PDF-", DOCX: b"PK\x03\x04"}
_MAGIC_WITHIN_BYTES = 1024

SUPPORTED = tuple(dict.fromkeys(_BY_ENDING.values()))


def content_type_of(declared: str, filename: str) -> str:
    """Returns the media type of a file from what the client declared, else from the file's ending.

    Raises UnsupportedContentError when neither names a format that can be ingested.
    """
    media_type = declared.partition(";")[0].strip().lower()
    media_type = _ALIASES.get(media_type, media_type)
    if media_type in _UNKNOWN:
        media_type = _BY_ENDING.get(PurePosixPath(filename).suffix.lower(), "")
    if media_type in SUPPORTED:
        return media_type
    shown = declared or filename or "nothing"
    raise UnsupportedContentError(
        f"'{shown}' cannot be ingested. Send one of: {', '.join(SUPPORTED)}; or a file name that ends in one of: "
        f"{', '.join(_BY_ENDING)}.",
        content_type=declared,
        supported=SUPPORTED,
    )


def check_beginning(beginning: bytes, content_type: str) -> None:
    """Raises UnreadableDocumentError when the first bytes cannot be of that type."""
    if not beginning:
        raise UnreadableDocumentError("The document is empty. Send its bytes as the body of the request.")
    magic = _MAGIC.get(content_type)
    if magic is not None and magic not in beginning[:_MAGIC_WITHIN_BYTES]:
        raise UnreadableDocumentError(
            f"The bytes are not {content_type}: the file does not begin as one. Check the file, or its declared type.",
            details={"content_type": content_type},
        )
