"""`malla doctor`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from common.client import MallaClient
from services.cli.data_dir import DataDir, settings_for
from services.cli.doctor import Finding, Outcome, Patient, examine
from services.cli.launcher.state import MeshPhase, read_state
from services.cli.launcher.supervisor import FIRST_TENANT
from services.cli.output import JsonFlag, console, print_json
from services.cli.session import find_edge
from services.cli.settings import CliSettings

_STYLES = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.FAILED: "red"}


def doctor(
    tenant: Annotated[str, typer.Option(help="Whose indexes are compared with the record.")] = FIRST_TENANT,
    spend: Annotated[bool, typer.Option(help="Also ask the model a word or two, which costs a few tokens.")] = True,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Check everything and say what to do. Exit status 1 if something is wrong."""
    found = asyncio.run(_examined(settings_for(data_dir), tenant, spend=spend, show=not as_json))
    worst, message = _summary([finding.outcome for _name, finding in found])
    success = worst is not Outcome.FAILED
    if as_json:
        print_json({"success": success, "message": message, "findings": [_row(name, finding) for name, finding in found]})
    else:
        console().print(message, style=_STYLES[worst])
    raise typer.Exit(0 if success else 1)


def _summary(outcomes: list[Outcome]) -> tuple[Outcome, str]:
    """Returns the worst outcome, and all of them in a line."""
    failures, warnings, all_of_them = outcomes.count(Outcome.FAILED), outcomes.count(Outcome.WARNING), len(outcomes)
    if failures:
        also = f", {warnings} are warnings" if warnings else ""
        return Outcome.FAILED, f"{failures} of {all_of_them} findings are failures{also}."
    if warnings:
        return Outcome.WARNING, f"Nothing has failed; {warnings} of {all_of_them} findings are warnings."
    return Outcome.OK, f"All is well: {all_of_them} findings."


async def _examined(settings: CliSettings, tenant: str, *, spend: bool, show: bool) -> list[tuple[str, Finding]]:
    state = read_state(settings.home)
    running = state is not None and state.is_running and state.phase is MeshPhase.READY
    found = []
    async with AsyncExitStack() as stack:
        client = None
        if running:
            edge = find_edge(settings)
            client = await stack.enter_async_context(MallaClient(edge.address, edge.token))
        async for name, finding in examine(Patient(settings, state if running else None, client, tenant), spend=spend):
            found.append((name, finding))
            if show:
                _show(name, finding)
    return found


def _show(name: str, finding: Finding) -> None:
    advice = f" → {finding.advice}" if finding.advice else ""
    out = console()
    out.print(f"{finding.outcome:<8}", style=_STYLES[finding.outcome], end="")
    out.print(f"{name:<13} {' '.join(finding.said.split())}{advice}")


def _row(name: str, finding: Finding) -> dict[str, object]:
    return {
        "check": name,
        "outcome": finding.outcome.value,
        "message": finding.said,
        "advice": finding.advice,
        **({"facts": finding.facts} if finding.facts else {}),
    }
