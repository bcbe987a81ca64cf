"""`malla agents`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from common.client import MallaClient
from common.models import Agent, HandoffRule
from services.cli.agent_views import agent_table, show_agent
from services.cli.data_dir import DataDir, settings_for
from services.cli.output import CliError, JsonFlag, console, print_json
from services.cli.session import call, find_edge

app = typer.Typer(help="Agents, whom visitors talk to.", rich_markup_mode=None)

Number = Annotated[int, typer.Argument(help="The agent's number.", min=1, metavar="N")]
Instructions = Annotated[str | None, typer.Option(help="How it is to answer; @FILE reads them from a file.")]
Collections = Annotated[
    list[str] | None, typer.Option("--collection", "-c", help="Where it answers from; repeatable; '' for nowhere.")
]
Language = Annotated[str | None, typer.Option(help="Language it answers in, ISO 639-1; '' for the visitor's.")]
ModelName = Annotated[str | None, typer.Option("--model", help="The model it asks; '' for the configured one.")]
Temperature = Annotated[float | None, typer.Option(min=0, max=2, help="0 for the likeliest words.")]
Passages = Annotated[int | None, typer.Option("-k", "--k", min=0, max=100, help="How many passages it answers from; 0 for 5.")]
OnRequest = Annotated[
    bool | None,
    typer.Option(
        "--handoff-on-request/--no-handoff-on-request",
        help="Gives the conversation to a person who is asked for.",
        show_default=False,
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Hands off where the best passage is less near than this cosine; 0 for never."),
]
MaxFailures = Annotated[int | None, typer.Option(min=0, help="Hands off after so many failed answers in a row; 0 for never.")]


@app.callback()
def agents() -> None:
    """Agents, whom visitors talk to."""


@app.command("list")
def list_all(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """List the agents."""

    async def work(client: MallaClient) -> list[Agent]:
        return [agent async for agent in client.list_agents()]

    found = call(find_edge(settings_for(data_dir)), work)
    if as_json:
        rows = [agent.model_dump(mode="json") for agent in found]
        print_json({"success": True, "message": f"{len(found)} agents", "agents": rows})
    elif found:
        console().print(agent_table(found))
    else:
        console().print("There is no agent. Create one: malla agents create --name NAME --collection COLLECTION")


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What it is called.")],
    instructions: Instructions = None,
    collection: Collections = None,
    language: Language = None,
    model: ModelName = None,
    temperature: Temperature = None,
    k: Passages = None,
    handoff_on_request: OnRequest = None,
    min_score: MinScore = None,
    max_failures: MaxFailures = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Create an agent."""
    fields = _fields(instructions, collection, language, model, temperature, k)
    rule = _rule(handoff_on_request, min_score, max_failures)
    if rule:
        fields["handoff"] = HandoffRule(**{"on_request": True, **rule})
    made = call(find_edge(settings_for(data_dir)), lambda client: client.create_agent(name, **fields))
    _tell(made, f"Agent {made.id_agente} is created. Talk to it: malla chat --agent {made.id_agente}", as_json)


@app.command("show")
def show(id_agente: Number, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Show one agent."""
    agent = call(find_edge(settings_for(data_dir)), lambda client: client.get_agent(id_agente))
    if as_json:
        _tell(agent, "OK", as_json)
    else:
        show_agent(agent)


@app.command("update")
def update(
    id_agente: Number,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    instructions: Instructions = None,
    collection: Collections = None,
    language: Language = None,
    model: ModelName = None,
    temperature: Temperature = None,
    k: Passages = None,
    handoff_on_request: OnRequest = None,
    min_score: MinScore = None,
    max_failures: MaxFailures = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is named; the rest stays."""
    fields = _fields(instructions, collection, language, model, temperature, k) | ({} if name is None else {"name": name})
    rule = _rule(handoff_on_request, min_score, max_failures)
    if not fields and not rule:
        raise CliError("Say what to change, for example --name. See malla agents update --help")

    async def work(client: MallaClient) -> Agent:
        if rule:  # changed as a whole: what is not named is taken from what it has
            before = (await client.get_agent(id_agente)).handoff or HandoffRule()
            fields["handoff"] = before.model_copy(update=rule)
        return await client.update_agent(id_agente, **fields)

    _tell(call(find_edge(settings_for(data_dir)), work), f"Agent {id_agente} is changed.", as_json)


@app.command("delete")
def delete(id_agente: Number, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Delete an agent; its conversations stay."""
    response = call(find_edge(settings_for(data_dir)), lambda client: client.delete_agent(id_agente))
    if as_json:
        print_json(response)
    else:
        console().print(f"Agent {id_agente} is deleted. Its conversations are still there.")


def _fields(
    instructions: str | None,
    collections: list[str] | None,
    language: str | None,
    model: str | None,
    temperature: float | None,
    k: int | None,
) -> dict[str, Any]:
    given = {
        "instructions": None if instructions is None else read_instructions(instructions),
        "collections": [name for name in collections if name] if collections else None,
        "language": language,
        "model": model,
        "temperature": temperature,
        "k": k,
    }
    return {name: value for name, value in given.items() if value is not None}


def _rule(on_request: bool | None, min_score: float | None, max_failures: int | None) -> dict[str, Any]:
    given = {"on_request": on_request, "min_score": min_score, "max_failures": max_failures}
    return {name: value for name, value in given.items() if value is not None}


def read_instructions(given: str) -> str:
    """Returns the text, or what the file "@FILE" holds. Raises CliError for a file that cannot be read."""
    if not given.startswith("@"):
        return given
    path = Path(given[1:])
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CliError(f"The instructions in {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CliError(f"The instructions in {path} are no text in UTF-8.") from None


def _tell(agent: Agent, message: str, as_json: bool) -> None:
    if as_json:
        print_json({"success": True, "message": message, "agent": agent.model_dump(mode="json")})
    else:
        console().print(message)
