"""`malla up`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from common.proxy import UPSTREAMS
from services.cli.data_dir import DataDir, settings_for
from services.cli.launcher.control import LaunchError, start_detached
from services.cli.launcher.lock import AlreadyRunningError
from services.cli.launcher.options import LaunchOptions, parse_replicas
from services.cli.launcher.ports import PortTakenError
from services.cli.launcher.run import run_mesh
from services.cli.launcher.state import SUPERVISOR, MeshState, read_state
from services.cli.launcher.supervisor import FIRST_TENANT, StartError
from services.cli.notices import notices
from services.cli.output import CliError, JsonFlag, console, print_json

_MOST_REPLICAS = 64


def up(
    data_dir: DataDir = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port of the edge; 0 for a free one.  [default: the one it had before, or 8080]", min=0, max=65535),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready; it goes on in the background.")] = False,
    replicas: Annotated[
        list[str] | None, typer.Option(help="Processes of a server, such as embedding=2; repeatable.", metavar="SERVER=N")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Start the mesh and keep it running until Ctrl-C or `malla down`."""
    if sys.platform != "linux":
        raise CliError("`malla up` needs Linux. Elsewhere run the containers: docker compose up")
    settings = settings_for(data_dir)
    options = LaunchOptions(settings.home, port, _checked(replicas or []), guarded=detach)
    state = read_state(settings.home)
    if state is not None and state.is_running:
        raise CliError(_running_already(settings.home))
    try:
        if detach:
            show_mesh(start_detached(options), as_json)
            return
        if not as_json:
            console().print("Starting the mesh…")
        run_mesh(options, settings, on_ready=lambda ready: show_mesh(ready, as_json))
    except AlreadyRunningError:
        raise CliError(_running_already(settings.home)) from None
    except LaunchError as error:
        raise CliError(str(error), error.log_tail) from None
    except (StartError, PortTakenError) as error:
        raise CliError(str(error)) from None


def _running_already(home: Path) -> str:
    return f"A mesh runs in {home} already. See `malla status`, stop it with `malla down`, or choose another --data-dir."


def _checked(values: list[str]) -> dict[str, int]:
    try:
        replicas = parse_replicas(values)
    except ValueError:
        raise typer.BadParameter("give a server and a number, such as embedding=2", param_hint="--replicas") from None
    for name, count in replicas.items():
        if name not in UPSTREAMS or not 1 <= count <= _MOST_REPLICAS:
            raise typer.BadParameter(
                f"'{name}={count}': the servers are {', '.join(UPSTREAMS)}, each 1 to {_MOST_REPLICAS} times",
                param_hint="--replicas",
            )
    return replicas


def show_mesh(state: MeshState, as_json: bool) -> None:
    """Says where everything is, and what works less well than it could."""
    rows = mesh_facts(state)
    if as_json:
        print_json(rows)
        return
    out = console()
    out.print("The mesh is ready.\n", style="green")
    labels = {
        "edge_url": "Edge",
        "docs_url": "Documentation",
        "console_url": "Console",
        "mesh_address": "Inside the mesh",
        "mongodb_uri": "Database",
        "logs": "Logs",
        "pid": "Supervisor",
        "token": f"Token ({FIRST_TENANT}, 24 h)",
    }
    width = max(len(label) for label in labels.values())
    for name, label in labels.items():
        out.print(f"  {label.ljust(width)}  {rows[name]}")
    for notice in rows["notices"]:
        out.print(f"\n{notice}", style="yellow")
    suffix = "" if state.data_dir == settings_for(None).home else f" --data-dir {state.data_dir}"
    out.print(f"\nNext: malla ingest FOLDER --collection NAME{suffix}   ·   malla status{suffix}   ·   malla down{suffix}")


def mesh_facts(state: MeshState) -> dict[str, Any]:
    """Returns where everything is, and what works less well than it could."""
    supervisor = state.process(SUPERVISOR)
    return {
        "success": True,
        "message": f"The mesh is {state.phase}.",
        "edge_url": state.edge_url,
        "docs_url": f"{state.edge_url}/docs",
        "console_url": f"{state.edge_url}/",
        "mesh_address": state.mesh_address,
        "admin_address": state.admin_address,
        "mongodb_uri": state.mongodb_uri,
        "data_dir": str(state.data_dir),
        "logs": str(state.logs),
        "pid": supervisor.process.pid if supervisor and supervisor.process else 0,
        "tenant": FIRST_TENANT,
        "token": state.token,
        "ports": state.ports,
        "notices": notices(),
    }
