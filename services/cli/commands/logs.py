"""`malla logs`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.cli.data_dir import DataDir, settings_for
from services.cli.durations import parse_ttl
from services.cli.launcher.layout import Layout
from services.cli.logs import Follower, LogLine, Selection, read_logs
from services.cli.logs.lines import LEVELS
from services.cli.output import CliError, JsonFlag, console, error_console, print_json

_POLL_S = 0.25


def logs(
    processes: Annotated[
        list[str] | None, typer.Argument(help="Processes of `malla status`, or access for the proxy's calls; all if none.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    since: Annotated[str, typer.Option(help="Only what is younger, such as 10m, 2h or 1d; then all of it.")] = "",
    level: Annotated[str, typer.Option(help=f"The lowest level: {', '.join(LEVELS)}.")] = LEVELS[0],
    request_id: Annotated[str, typer.Option("--request-id", help="Only lines of this request, in every process.")] = "",
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the logs of all processes as one, in the order of time."""
    selection = _selection(since, level.upper(), request_id)
    folder = Layout(settings_for(data_dir).home).logs
    names = _known(folder, processes or [])
    follower = Follower(folder, processes or [])
    found = read_logs(folder, names, selection, 2**31 if since else lines)
    if as_json and not follow:
        print_json({"success": True, "message": str(folder), "lines": [line.to_row() for line in found]})
        return
    _show(found, as_json)
    if not found and not as_json:
        error_console().print("No line fits.", style="dim")
    while follow:
        _show([line for line in follower.news() if selection.has(line)], as_json)
        time.sleep(_POLL_S)


def _known(folder: Path, wanted: list[str]) -> list[str]:
    known = sorted(path.stem for path in folder.glob("*.log"))
    for name in wanted:
        if name not in known:
            raise CliError(f"There is no log '{name}' in {folder}. There are: {', '.join(known) or 'none'}.")
    if not known:
        raise CliError(f"There is no log in {folder}. Start the mesh: malla up --data-dir {folder.parent} --detach")
    return wanted or known


def _selection(since: str, level: str, request_id: str) -> Selection:
    if level not in LEVELS:
        raise typer.BadParameter(f"'{level}': the levels are {', '.join(LEVELS)}", param_hint="--level")
    return Selection(datetime.now(UTC) - parse_ttl(since, "--since") if since else None, level, request_id)


def _show(lines: list[LogLine], as_json: bool) -> None:
    for line in lines:
        if as_json:
            print_json(line.to_row())
        else:
            console().print(str(line))
