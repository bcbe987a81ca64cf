"""What can be typed in a conversation beside messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from common.errors import MallaError
from services.cli.dialogue import Dialogue, new_session

Command = Callable[[Dialogue, str], Awaitable[None]]

_EXIT = "/exit"


async def take_line(dialogue: Dialogue, line: str) -> bool:
    """Sends a message, or obeys a command; says whether the conversation goes on."""
    if not line.startswith("/"):
        await dialogue.say(line)
        return True
    name, _, rest = line.partition(" ")
    if name == _EXIT:
        return False
    command = COMMANDS.get(name)
    if command is None:
        dialogue.view.refuse(f"There is no command {name}. /help lists them.", "UNKNOWN_COMMAND")
        return True
    try:
        await command(dialogue, rest.strip())
    except MallaError as error:
        begun = error.reason != "CONVERSATION_NOT_FOUND"
        dialogue.view.refuse(error.message if begun else "Nothing has been said in this conversation yet.", error.reason)
    return True


async def _help(dialogue: Dialogue, _rest: str) -> None:
    dialogue.view.listing({**HELP, _EXIT: "leave; so does Ctrl-D"})


async def _new(dialogue: Dialogue, _rest: str) -> None:
    dialogue.session_id = new_session()
    dialogue.sources = []
    dialogue.view.note(f"A new conversation: {dialogue.session_id}", session_id=dialogue.session_id)


async def _history(dialogue: Dialogue, _rest: str) -> None:
    dialogue.view.history(await dialogue.client.get_conversation(dialogue.session_id))


async def _sources(dialogue: Dialogue, _rest: str) -> None:
    dialogue.view.sources(dialogue.sources)


async def _hand_off(dialogue: Dialogue, rest: str) -> None:
    changed = await dialogue.client.hand_off(dialogue.session_id, rest)
    dialogue.view.note(
        f"A person has the conversation: {changed.handoff_reason}. /back gives it to {dialogue.agent.name} again.",
        handed_off=True,
        handoff_reason=changed.handoff_reason,
    )


async def _hand_back(dialogue: Dialogue, _rest: str) -> None:
    await dialogue.client.hand_back(dialogue.session_id)
    dialogue.view.note(f"{dialogue.agent.name} answers again.", handed_off=False)


async def _agent(dialogue: Dialogue, rest: str) -> None:
    if not rest.isdecimal() or not 0 < int(rest) < 2**31:
        dialogue.view.refuse("Say its number, such as /agent 2. `malla agents list` shows them.", "INVALID_USAGE")
        return
    dialogue.agent = await dialogue.client.get_agent(int(rest))
    dialogue.view.note(f"{dialogue.agent.name} (agent {rest}) answers from now on.", id_agente=dialogue.agent.id_agente)


COMMANDS: dict[str, Command] = {
    "/help": _help,
    "/new": _new,
    "/history": _history,
    "/sources": _sources,
    "/handoff": _hand_off,
    "/back": _hand_back,
    "/agent": _agent,
}

HELP = {
    "/help": "list these",
    "/new": "begin another conversation",
    "/history": "show what was said",
    "/sources": "show the passages that the last answer cites",
    "/handoff [REASON]": "give the conversation to a person",
    "/back": "give it back to the agent",
    "/agent N": "go on with another agent",
}
