"""What a command says: for people by default, for machines with `--json`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # loading them takes longer than most of what is shown without them
    from pydantic import BaseModel
    from rich.console import Console

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


class CliError(Exception):
    """A failure that is told in one line; exit status 1.

    Attributes:
        lines: What to show after it, such as the end of a log.
    """

    def __init__(self, message: str, lines: list[str] | None = None) -> None:
        super().__init__(message)
        self.lines = lines or []


def without_kind(message: str) -> str:
    """Returns what pydantic says of a value, without the kind of Python's exception that it puts before it."""
    return message.replace("Value error, ", "").replace("Assertion failed, ", "")


def console() -> Console:
    """Returns the console for people. Text is shown as it is: a document may contain what looks like markup."""
    return _console(stderr=False)


def error_console() -> Console:
    """Returns the same on standard error, for progress bars and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def print_json(value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Prints one value as one line of JSON."""
    text = _json(value)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _json(value: BaseModel | dict[str, Any] | list[Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value.model_dump_json()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text))  # in ASCII, which every encoding has: "?" would be another value
    return text


def write(text: str) -> None:
    """Shows text at once, without ending the line: a piece of a streamed answer."""
    sys.stdout.write(text)
    sys.stdout.flush()
