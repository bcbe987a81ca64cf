"""Where the messages of `malla chat` come from."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import suppress

from services.cli.output import write


def read_lines(interactive: bool, prompt: str) -> Iterator[str]:
    """Yields what is typed, or the lines of standard input, without white space around them; blank ones are left out."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a stray byte shall not end a conversation
    for line in _typed(prompt) if interactive else sys.stdin:
        if text := line.strip():
            yield text


def _typed(prompt: str) -> Iterator[str]:
    with suppress(ImportError):
        importlib.import_module("readline")  # gives `input` editing and a history of what was typed
    while True:
        try:
            yield input(prompt)
        except EOFError:
            write("\n" if prompt else "")
            return
        except KeyboardInterrupt:
            write("\n" if prompt else "")  # drops the line, as a shell does
