"""`malla restart`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from services.cli.data_dir import DataDir, running_mesh, settings_for
from services.cli.launcher.command_socket import Message, ask
from services.cli.output import CliError, JsonFlag, console, print_json


def restart(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Processes of `malla status`; all but the supervisor where none is named. With the proxy goes the gateway."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Restart processes one after the other, while calls go on: a new one serves before the old one has drained."""
    state = running_mesh(settings_for(data_dir))
    for told in _told({"restart": names or []}, state.data_dir):
        if "error" in told:
            raise CliError(told["error"])
        if as_json:
            done = "done" in told
            print_json({"success": True, "message": "restarted"} if done else told)
        elif "process" in told:
            console().print(f"{told['process']}: {told['news']}")


def _told(asked: Message, data_dir: Path) -> Iterator[Message]:
    """Yields what the supervisor tells. Raises CliError where it goes away before it is done."""
    told: Message = {}
    try:
        for told in ask(data_dir, asked):
            yield told
    except OSError:
        pass  # said below
    if not told.keys() & {"done", "error"}:
        raise CliError("The supervisor is not there, or went away. See `malla status`, then try again.")
