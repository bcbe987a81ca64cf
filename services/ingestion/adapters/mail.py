"""Text of a mail: its own, once, and that of its attachments, each under a heading with the file's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email import policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from pathlib import PurePosixPath
from typing import Protocol, TypeAlias

from common.errors import MallaError, UnreadableDocumentError, UnsupportedContentError
from services.ingestion.adapters.decoding import decode
from services.ingestion.domain.formats import EML, HTML, PDF, content_type_of, settled_type
from services.ingestion.domain.texts import Extracted

Part: TypeAlias = "Message[str, str]"

# Of a mail and of those in it, together.
_MOST_ATTACHMENTS = 50
_MOST_MAILS_WITHIN = 3
_MOST_WARNINGS = 20
_HEADERS = ("From", "To", "Cc", "Date")
# Parts of a mail that are no documents: what programs say to each other.
_FOR_PROGRAMS = {
    "application/pgp-encrypted",
    "application/pgp-signature",
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
    "message/delivery-status",
    "text/calendar",
    "text/rfc822-headers",
}
_HEADING = re.compile(r"^(#{1,6})(?= )", re.MULTILINE)
_DEEPEST_HEADING = 6
# A plain form that is this much shorter than the HTML form only says that there is one.
_LEAST_OF_HTML = 0.3


class Read(Protocol):
    """Gets the text out of a file in a mail."""

    def __call__(self, data: bytes, content_type: str, most_characters: int) -> Extracted:
        """Returns it. Raises MallaError for what cannot be read."""
        ...


def read_mail(data: bytes, read: Read, most_characters: int) -> Extracted:
    """Returns a mail's text under its subject, with its attachments'; `warnings` name those that were not read.

    Args:
        data: The mail, in the form of RFC 5322.
        read: Reads an attachment.
        most_characters: The longest text of the attachments together.

    Raises:
        UnreadableDocumentError: Its parts are inside each other without measure, or its text is none.
    """
    reading = _Reading(read, most_characters)
    try:
        mail = _parsed(data)
        reading.add(mail, level=1, mails_around=0)
    except RecursionError as error:
        raise UnreadableDocumentError(
            "The mail has too many parts inside each other. Send what is in it by itself.", details={"content_type": EML}
        ) from error
    return Extracted("\n\n".join(reading.texts) + "\n", _header(mail, "Subject"), warnings=reading.told())


class _Reading:
    def __init__(self, read: Read, most_characters: int) -> None:
        self.texts: list[str] = []
        self._read = read
        self._characters_left = most_characters
        self._attachments = 0
        self._warnings: list[str] = []

    def add(self, mail: Part, level: int, mails_around: int, name: str = "") -> None:
        """Adds a mail and what is attached to it."""
        attached: list[Part] = []
        self._head(_header(mail, "Subject") or name, level)
        headers = ((name, _header(mail, name)) for name in _HEADERS)
        self.texts += [f"**{name}**: {value}" for name, value in headers if value]
        self.texts += filter(str.strip, self._own(mail, attached))
        for part in attached:
            self._attachments += 1
            if self._attachments <= _MOST_ATTACHMENTS:
                self._attach(part, level + 1, mails_around)

    def told(self) -> tuple[str, ...]:
        """Returns what was not read, and why."""
        told = self._warnings[:_MOST_WARNINGS]
        if len(self._warnings) > _MOST_WARNINGS:
            told.append(f"{len(self._warnings) - _MOST_WARNINGS} more attachments could not be read.")
        if self._attachments > _MOST_ATTACHMENTS:
            more = self._attachments - _MOST_ATTACHMENTS
            told.append(f"{more} more attachments were not read: of one mail no more than {_MOST_ATTACHMENTS} are.")
        return tuple(told)

    def _head(self, name: str, level: int) -> None:
        if name:
            self.texts.append(f"{'#' * min(level, _DEEPEST_HEADING)} {name}")

    def _own(self, part: Part, attached: list[Part]) -> Iterator[str]:
        """Yields the texts that are the mail's own, and gathers what is attached to it."""
        kind, disposition = part.get_content_type(), part.get_content_disposition()
        named = disposition == "attachment" or _filename(part)
        if kind.startswith("multipart/"):
            parts = _parts(part)
            if kind == "multipart/alternative":
                yield self._alternative(parts, attached)
                return
            for inner in parts:
                yield from self._own(inner, attached)
        elif kind in {"text/plain", "text/html"} and not named:
            yield self._text(part)
        elif kind in _FOR_PROGRAMS or (kind.startswith("image/") and (disposition != "attachment" or part["Content-ID"])):
            return
        else:
            attached.append(part)

    def _alternative(self, parts: Sequence[Part], attached: list[Part]) -> str:
        """Returns one form of a text that is there in several: the plain one if it says it all, else the richest."""
        forms = [(part.get_content_type(), "\n\n".join(self._own(part, attached))) for part in parts]
        filled = [(kind, text) for kind, text in forms if text.strip()]
        rich = filled[-1][1] if filled else ""
        plain = next((text for kind, text in filled if kind == "text/plain"), "")
        return plain if len(plain) > _LEAST_OF_HTML * len(rich) else rich

    def _text(self, part: Part) -> str:
        data = _bytes(part)
        try:
            text = data.decode(part.get_content_charset() or "utf-8").replace("\r\n", "\n").replace("\0", " ")
        except (LookupError, ValueError):
            text = decode(data)
        if part.get_content_type() != HTML or not text.strip():
            return text.strip("\n")
        try:
            return _within(self._read(text.encode("utf-8", "replace"), HTML, self._characters_left).text, 1)
        except MallaError as error:
            self._warnings.append(f"The mail's text: {error.message}")
            return ""

    def _attach(self, part: Part, level: int, mails_around: int) -> None:
        name = _filename(part) or f"{part.get_content_type()} {self._attachments}"
        if part.get_content_type() == EML:
            self._attach_mail(next(iter(_parts(part)), None), name, level, mails_around)
            return
        data = _bytes(part)
        try:
            kind = settled_type(_declared(part, name), name, data)
            if kind == EML:
                self._attach_mail(_parsed(data), name, level, mails_around)
                return
            extracted = self._read(data, kind, self._characters_left)
        except UnsupportedContentError:
            self._warnings.append(f"{name}: files of this kind are not read.")
            return
        except MallaError as error:
            self._warnings.append(f"{name}: {error.message}")
            return
        if not extracted.text.strip():
            self._warnings.append(f"{name}: it holds no text.")
            return
        self._warnings += [f"{name}: {warning}" for warning in extracted.warnings]
        self._characters_left -= len(extracted.text)
        self._head(name, level)
        self.texts += [_within(text, level) for text in _pages(extracted, kind)]

    def _attach_mail(self, mail: Part | None, name: str, level: int, mails_around: int) -> None:
        if mail is None or mails_around >= _MOST_MAILS_WITHIN:
            self._warnings.append(f"{name}: a mail inside {mails_around + 1} mails is not read.")
        else:
            self.add(mail, level, mails_around + 1, name)


def _parsed(data: bytes) -> Part:
    return BytesParser(policy=policy.compat32).parsebytes(data.removeprefix(b"\xef\xbb\xbf").lstrip())


def _parts(part: Part) -> list[Part]:
    """Returns the parts of a part; none where it only says that it has some."""
    payload = part.get_payload()
    return [inner for inner in payload if isinstance(inner, Message)] if isinstance(payload, list) else []


def _bytes(part: Part) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _declared(part: Part, name: str) -> str:
    """Returns the type that an attachment is said to have; what its name says where that is none that can be read."""
    try:
        return content_type_of(part.get_content_type(), name)
    except MallaError:
        return content_type_of("", name)


def _filename(part: Part) -> str:
    return PurePosixPath(_decoded(part.get_filename() or "").replace("\\", "/")).name


def _header(mail: Part, name: str) -> str:
    raw = next((value for key, value in mail.raw_items() if key.lower() == name.lower()), "")
    return _decoded(decode(str(raw).encode("utf-8", "surrogateescape")))


def _decoded(value: str) -> str:
    """Returns a header's text: its encoded words (RFC 2047) decoded, on one line."""
    with suppress(HeaderParseError, LookupError, ValueError):
        value = str(make_header(decode_header(value)))
    return " ".join(value.encode("utf-8", "replace").decode().split())


def _pages(extracted: Extracted, kind: str) -> Iterator[str]:
    """Yields an attachment's text: that of a PDF page by page, since the pages of a mail cannot say it."""
    if kind != PDF or len(extracted.page_starts) < 2:
        yield extracted.text.strip()
        return
    ends = [*extracted.page_starts[1:], len(extracted.text)]
    for number, (start, end) in enumerate(zip(extracted.page_starts, ends, strict=True), start=1):
        if text := extracted.text[start:end].strip():
            yield f"# p. {number}\n\n{text}"


def _within(text: str, level: int) -> str:
    """Returns a text with its headings below one of that level."""
    return _HEADING.sub(lambda found: "#" * min(len(found.group(1)) + level, _DEEPEST_HEADING), text)
