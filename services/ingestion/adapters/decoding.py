"""Characters out of bytes, in the encodings people send."""

from __future__ import annotations

import codecs

from common.errors import UnreadableDocumentError
from services.ingestion.adapters.western import western_encoding

# The longer mark first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEEN_BYTES = 4096
_MOST_CONTROL_SHARE = 0.01
_UTF16_LEAST_SHARE = 0.4
_CONTROL = dict.fromkeys([*range(9), *range(14, 32)])
_CONTROL.pop(0x0C, None)


def decode(data: bytes) -> str:
    """Returns text in UTF-8, UTF-16 or UTF-32, else in Windows-1252, which holds Latin-1's letters, or of DOS or old Macintosh.

    Raises UnreadableDocumentError for binary data.
    """
    for encoding in (*_marked(data), *_unmarked_utf16(data), "utf-8-sig"):
        try:
            return _checked(data.decode(encoding))
        except UnicodeDecodeError:
            continue
    return _checked(data.decode(western_encoding(data), "replace"))


def _marked(data: bytes) -> list[str]:
    return [encoding for mark, encoding in _MARKS if data.startswith(mark)][:1]


def _unmarked_utf16(data: bytes) -> list[str]:
    # Western text in UTF-16 has a zero in nearly every other byte, and no other text has.
    head = data[:_SEEN_BYTES]
    if not head or len(data) % 2:
        return []
    even, odd = (head[first::2].count(0) / len(head) for first in (0, 1))
    little, big = odd > _UTF16_LEAST_SHARE and not even, even > _UTF16_LEAST_SHARE and not odd
    return ["utf-16-le"] if little else ["utf-16-be"] if big else []


def _checked(text: str) -> str:
    control = len(text) - len(text.translate(_CONTROL))
    if control > _MOST_CONTROL_SHARE * len(text):
        raise UnreadableDocumentError("The file is declared as text but holds binary data. Send it with its real content type.")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")
