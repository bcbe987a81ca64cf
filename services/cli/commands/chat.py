"""`malla chat`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from common.client import MallaClient
from common.models import Agent
from services.cli.chat_commands import take_line
from services.cli.chat_input import read_lines
from services.cli.chat_views import JsonView, PlainView
from services.cli.data_dir import DataDir, settings_for
from services.cli.dialogue import Dialogue, new_session
from services.cli.output import CliError, JsonFlag
from services.cli.session import connected, find_edge


def chat(
    agent: Annotated[int | None, typer.Option(min=1, help="Number of the agent.  [default: the first]", metavar="N")] = None,
    session: Annotated[str, typer.Option(help="Conversation to go on with.  [default: a new one]", metavar="ID")] = "",
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Talk with an agent. /help lists what else can be said; Ctrl-C stops an answer, Ctrl-D leaves.

    Where the input is no terminal, each line of it is a message, and the exit status is 1 if one was not answered. With --json,
    one event a line, as they come.
    """
    interactive = sys.stdin.isatty()
    view = JsonView() if as_json else PlainView()
    with connected(find_edge(settings_for(data_dir))) as (runner, client):
        dialogue = Dialogue(client, view, runner.run(choose_agent(client, agent)), session or new_session())
        if interactive:
            view.greet(dialogue.agent, dialogue.session_id)
        _hold(runner, dialogue, read_lines(interactive, prompt="" if as_json else "> "), interactive)
    if dialogue.failures and not interactive:
        raise typer.Exit(1)


def _hold(runner: asyncio.Runner, dialogue: Dialogue, lines: Iterable[str], interactive: bool) -> None:
    for line in lines:
        try:
            if not runner.run(take_line(dialogue, line)):
                return
        except KeyboardInterrupt:
            if not interactive:
                raise  # a script is stopped as a whole
            dialogue.view.stopped()


async def choose_agent(client: MallaClient, id_agente: int | None) -> Agent:
    """Returns the agent of a number, or the first. Raises CliError if there is none at all."""
    if id_agente is not None:
        return await client.get_agent(id_agente)
    async for agent in client.list_agents(page_size=1):
        return agent
    raise CliError("There is no agent to talk to. Create one: malla agents create --name NAME --collection COLLECTION")
