"""How a conversation looks: for people, and for machines one JSON object a line."""

from __future__ import annotations

from typing import Any, Protocol

from common.models import Agent, ChatEvent, Citation, Conversation, Done, Turn, TurnRole, TurnState
from services.cli.answers import show_citations
from services.cli.output import console, print_json, write

_ENDED_EARLY = {TurnState.CANCELLED: " [stopped]", TurnState.FAILED: " [broke off]", TurnState.RUNNING: " […]"}


class View(Protocol):
    """Shows a conversation."""

    def greet(self, agent: Agent, session_id: str) -> None:
        """Says who answers, and in which conversation."""

    def event(self, event: ChatEvent) -> None:
        """Shows an event of an answer."""

    def stopped(self) -> None:
        """Says that the answer was stopped."""

    def note(self, message: str, **facts: Any) -> None:
        """Says what a command did."""

    def refuse(self, message: str, reason: str) -> None:
        """Says in one line why a command did nothing."""

    def listing(self, rows: dict[str, str]) -> None:
        """Shows names and what they mean."""

    def history(self, conversation: Conversation) -> None:
        """Shows what was said."""

    def sources(self, citations: list[Citation]) -> None:
        """Shows what the last answer rests on."""


class PlainView:
    """For people."""

    def __init__(self) -> None:
        self._in_line = False  # whether a piece of an answer is on the line

    def greet(self, agent: Agent, session_id: str) -> None:
        """Says who answers, and in which conversation."""
        console().print(f"{agent.name} (agent {agent.id_agente}), conversation {session_id}. /help lists the commands.")

    def event(self, event: ChatEvent) -> None:
        """Shows pieces of the answer as they come, and what it cites at the end."""
        if event.delta is not None and event.delta.text:
            self._in_line = True
            write(event.delta.text)
        elif event.handoff is not None:
            self._line(f"A person has the conversation ({event.handoff.reason}). /back gives it to the agent again.", "yellow")
        elif event.error is not None:
            self.refuse(event.error.message or event.error.type, event.error.type)
        elif event.done is not None:
            self._finish(event.done)

    def stopped(self) -> None:
        """Ends the line of a stopped answer."""
        self._line("[stopped]", "dim")

    def note(self, message: str, **_facts: Any) -> None:
        """Says what a command did."""
        self._line(message, "dim")

    def refuse(self, message: str, _reason: str) -> None:
        """Says in one line why a command did nothing, or an answer broke off."""
        self._line(" ".join(message.split()), "red")

    def listing(self, rows: dict[str, str]) -> None:
        """Shows names and what they mean."""
        width = max(len(name) for name in rows)
        for name, meaning in rows.items():
            self._line(f"{name.ljust(width)}  {meaning}", "dim")

    def history(self, conversation: Conversation) -> None:
        """Shows what was said, and by whom."""
        for turn in conversation.turns:
            self._line(f"{_speaker(turn)}: {turn.text}{_ENDED_EARLY.get(turn.state, '')}", None)

    def sources(self, citations: list[Citation]) -> None:
        """Shows what the last answer rests on."""
        if not citations:
            self._line("The last answer cites nothing.", "dim")
        show_citations(citations)

    def _finish(self, done: Done) -> None:
        if self._in_line:
            self._line("", None)
        show_citations(done.citations)

    def _line(self, text: str, style: str | None) -> None:
        if self._in_line:
            write("\n")
            self._in_line = False
        if text:
            console().print(text, style=style)


class JsonView:
    """For machines."""

    def greet(self, agent: Agent, session_id: str) -> None:
        """Says who answers, and in which conversation."""
        print_json({"session_id": session_id, "id_agente": agent.id_agente})

    def event(self, event: ChatEvent) -> None:
        """Shows the event as every other transport of the same stream does."""
        print_json(event.model_dump(mode="json", exclude_none=True))

    def stopped(self) -> None:
        """Says that no last event follows."""
        print_json({"stopped": {}})

    def note(self, message: str, **facts: Any) -> None:
        """Says what a command did."""
        print_json({"message": message, **facts})

    def refuse(self, message: str, reason: str) -> None:
        """Says why a command did nothing."""
        print_json({"error": {"type": reason, "message": message}})

    def listing(self, rows: dict[str, str]) -> None:
        """Shows names and what they mean."""
        print_json({"commands": rows})

    def history(self, conversation: Conversation) -> None:
        """Shows the conversation."""
        print_json({"conversation": conversation.model_dump(mode="json", exclude_none=True)})

    def sources(self, citations: list[Citation]) -> None:
        """Shows what the last answer rests on."""
        print_json({"citations": [citation.model_dump(mode="json", exclude_none=True) for citation in citations]})


def _speaker(turn: Turn) -> str:
    if turn.role is TurnRole.HUMAN:
        return turn.author or "person"
    return "you" if turn.role is TurnRole.USER else "agent"
