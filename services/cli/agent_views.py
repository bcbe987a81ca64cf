"""How agents look to people."""

from __future__ import annotations

from common.models import Agent, HandoffRule
from services.cli.output import console
from services.cli.tables import WholeTable


def agent_table(found: list[Agent]) -> WholeTable:
    """Returns agents, one a row."""
    table = WholeTable()
    table.add_column("agent", justify="right", no_wrap=True)
    for column in ("name", "collections", "model", "language"):
        table.add_column(column, overflow="fold")
    for agent in found:
        model = agent.model or "configured"
        table.add_row(str(agent.id_agente), agent.name, ", ".join(agent.collections), model, agent.language or "visitor's")
    return table


def show_agent(agent: Agent) -> None:
    """Shows all of an agent."""
    rule = agent.handoff or HandoffRule()
    facts = {
        "Agent": f"{agent.id_agente}  {agent.name}",
        "Collections": ", ".join(agent.collections) or "none",
        "Language": agent.language or "the visitor's",
        "Model": agent.model or "the configured one",
        "Temperature": "the configured one" if agent.temperature is None else f"{agent.temperature:g}",
        "Passages": str(agent.k or 5),
        "Hand-off": _when(rule),
        "Instructions": agent.instructions or "none",
    }
    width = max(len(label) for label in facts)
    for label, value in facts.items():
        console().print(f"{label.ljust(width)}  {value}")


def _when(rule: HandoffRule) -> str:
    cases = [
        "when a person is asked for" if rule.on_request else "",
        f"below a score of {rule.min_score:g}" if rule.min_score else "",
        f"after {rule.max_failures} failed answers" if rule.max_failures else "",
    ]
    return ", ".join(case for case in cases if case) or "never"
