"""`malla logs`."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.launcher.plan import Layout
from services.cli.launcher.spawn import tail
from services.cli.output import CliError, JsonFlag, console, print_json
from services.cli.session import DataDir, settings_for


def logs(
    process: Annotated[str, typer.Argument(help="A process of `malla status`, or access.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the end of a process's log."""
    layout = Layout(settings_for(data_dir).home)
    known = sorted(path.stem for path in layout.logs.glob("*.log"))
    if process not in known:
        raise CliError(f"There is no log '{process}' in {layout.logs}. There are: {', '.join(known) or 'none'}.")
    found = tail(layout.log(process), lines)
    if as_json:
        print_json({"success": True, "message": str(layout.log(process)), "lines": found})
        return
    for line in found:
        console().print(line)
