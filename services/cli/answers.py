"""Streams an answer to the terminal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from common.models import ChatEvent, Citation, Done
from services.cli.output import CliError, console, write

_SNIPPET_CHARACTERS = 160


async def stream_answer(events: AsyncGenerator[ChatEvent, None], show: Callable[[str], None] = write) -> Done:
    """Shows each piece of an answer as it comes, and returns the end of the stream. Raises CliError if it ended badly."""
    async for event in events:
        if event.delta is not None:
            show(event.delta.text)
        elif event.handoff is not None:
            show(f"[a person takes over: {event.handoff.reason}]")
        elif event.error is not None:
            show("\n")
            raise CliError(f"The answer broke off. {event.error.message}")
        elif event.done is not None:
            show("\n")
            return event.done
    raise CliError("The answer broke off: the connection was lost. Ask again; `malla status` shows what is down.")


def show_citations(citations: list[Citation]) -> None:
    """Lists what an answer rests on."""
    out = console()
    for citation in citations:
        page = f", page {citation.page}" if citation.page else ""
        out.print(f"  [{citation.index}] {citation.title or citation.document_id} ({citation.document_id}{page})", style="cyan")
        out.print(f"      {snippet(citation.text)}", style="dim")


def snippet(text: str, most: int = _SNIPPET_CHARACTERS) -> str:
    """Returns the beginning of a passage on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
