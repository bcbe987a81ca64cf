"""Text that comes in or goes out in another encoding than UTF-8, and streams that are not there."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_ENV_FILE = Path(".env")


def usable_streams() -> None:
    """Makes every standard stream usable: a closed one is empty, and what a terminal has no sign for is shown as "?"."""
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def not_text(error: UnicodeError, arguments: Sequence[str]) -> str:
    """Returns what is no UTF-8 and what to do; empty where it is nothing that was given or read."""
    if isinstance(error, UnicodeDecodeError):
        if not _is_utf8(_ENV_FILE):
            return "The file .env in this folder is no text in UTF-8. Save it as UTF-8."
        return f"What was read is no text in UTF-8: {error.reason} at byte {error.start}. Convert it first."
    strange = [one for one in arguments if has_surrogates(one)]
    if not strange:
        return ""
    return f"'{strange[0]}' is no text in UTF-8. Check the encoding of the terminal, or of the script it stands in."


def has_surrogates(text: str) -> bool:
    """Says whether a text has what the system gave and UTF-8 cannot hold: bytes of another encoding."""
    return any("\ud800" <= sign <= "\udfff" for sign in text)


def as_text(given: str) -> str:
    """Returns a name of the file system as text: bytes that are no UTF-8 are written out, so that names stay distinct."""
    return os.fsencode(given).decode("utf-8", "backslashreplace") if has_surrogates(given) else given


def _is_utf8(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    except OSError:
        return True
    return True
