"""`malla status`."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

import typer

from services.cli.data_dir import DataDir, settings_for
from services.cli.launcher.state import GUARDIAN, MeshPhase, MeshState, ProcessPhase, ProcessState, read_state
from services.cli.output import JsonFlag, console, print_json
from services.cli.tables import WholeTable

_GOOD = "ok"


def status(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Show every process and whether it serves now. Exit status 1 if the mesh is not ready."""
    home = settings_for(data_dir).home
    state = read_state(home)
    if state is None or not state.is_running:
        message = f"No mesh runs in {home}."
        if state is not None and state.phase is not MeshPhase.STOPPED:
            message += " The last one was killed; what it acknowledged is safe."
        message += f" Start one: malla up --data-dir {home} --detach"
        if as_json:
            print_json({"success": False, "message": message, "running": False, "phase": "stopped", "processes": []})
        else:
            console().print(message)
        raise typer.Exit(1)
    rows = asyncio.run(_rows(state))
    ready = state.phase is MeshPhase.READY and all(row["health"] == _GOOD for row in rows)
    if as_json:
        print_json(_facts(state, rows, ready))
    else:
        _show(state, rows)
    raise typer.Exit(0 if ready else 1)


async def _rows(state: MeshState) -> list[dict[str, Any]]:
    health = await asyncio.gather(*(_health(row) for row in state.processes))
    return [_row(process, said) for process, said in zip(state.processes, health, strict=True)]


async def _health(row: ProcessState) -> str:
    if row.process is None or not row.process.is_alive:
        return "restarting" if row.phase in {ProcessPhase.RESTARTING, ProcessPhase.READY} else row.phase.value
    if row.process.is_stopped:  # the supervisor and the guardian are asked nothing that would show it
        return f"stopped by a signal: kill -CONT {row.process.pid}"
    return await row.check.failure(timeout_s=2.0) or _GOOD


def _row(row: ProcessState, health: str) -> dict[str, Any]:
    return {
        "name": row.name,
        "pid": row.process.pid if row.process else None,
        "state": row.phase.value,
        "health": health,
        "port": row.port or None,
        "restarts": row.restarts,
        "last_exit": row.last_exit,
        "uptime_s": round(time.time() - row.started_at, 1) if row.process else 0.0,
        "log": str(row.log),
    }


def _facts(state: MeshState, rows: list[dict[str, Any]], ready: bool) -> dict[str, Any]:
    return {
        "success": ready,
        "message": f"The mesh is {state.phase}.",
        "running": True,
        "phase": state.phase.value,
        "edge_url": state.edge_url,
        "mesh_address": state.mesh_address,
        "mongodb_uri": state.mongodb_uri,
        "data_dir": str(state.data_dir),
        "logs": str(state.logs),
        "processes": rows,
    }


def _show(state: MeshState, rows: list[dict[str, Any]]) -> None:
    out = console()
    unguarded = "" if state.process(GUARDIAN) else "; in the foreground: nothing brings a killed supervisor back"
    out.print(f"{state.edge_url} · {state.phase}{unguarded}")
    table = WholeTable()
    for column in ("process", "pid", "state", "health", "port", "restarts", "uptime", "last exit"):
        justify: Literal["left", "right"] = "right" if column in {"pid", "port", "restarts", "uptime"} else "left"
        table.add_column(column, justify=justify, no_wrap=column not in {"health", "last exit"}, overflow="fold")
    for row in rows:
        cells = (
            row["pid"],
            row["state"],
            row["health"],
            row["port"],
            row["restarts"],
            _duration(row["uptime_s"]),
            row["last_exit"],
        )
        table.add_row(row["name"], *("" if cell is None else str(cell) for cell in cells))
    out.print(table)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
