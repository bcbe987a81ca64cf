"""`malla audit`."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.data_dir import DataDir, settings_for
from services.cli.launcher.layout import Layout
from services.cli.output import CliError, JsonFlag, console, error_console, print_json


def audit(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 20,
    tenant: Annotated[str, typer.Option("--tenant", help="Only what this tenant did.")] = "",
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Show who changed what, spent words or was refused. Contents and tokens are in no line."""
    settings = settings_for(data_dir)
    path = settings.audit_log or Layout(settings.home).audit
    edge = Layout(settings.home).audit / "edge.jsonl"
    files = sorted({*_files(path.expanduser()), *_files(edge)})
    if not files:
        raise CliError(f"There is no audit log in {path}. Start the mesh: malla up --data-dir {settings.home} --detach")
    found = (row for file in files for row in _rows(file) if not tenant or row.get("tenant") == tenant)
    last = heapq.nlargest(lines, found, key=lambda row: str(row.get("time", "")))[::-1]
    if as_json:
        print_json({"success": True, "message": f"{len(last)} lines of {path}", "lines": last})
    elif last:
        _show(last)
    else:
        error_console().print("No line fits.", style="dim")


def _files(path: Path) -> Iterator[Path]:
    """Yields the files of a log, those rotated away among them."""
    if path.suffix:
        yield from path.parent.glob(f"{path.name}*")
    else:
        yield from path.glob("*.jsonl*")


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8", errors="replace") as text:
        for line in text:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # cut by a crash
            if isinstance(row, dict):
                yield row


def _show(rows: list[dict[str, Any]]) -> None:
    """Prints a line each: nothing is folded, so that it can be searched."""
    for row in rows:
        resources = [f"{name}={value}" for name, value in (row.get("resources") or {}).items()]
        who = "/".join(str(row.get(name) or "-") for name in ("tenant", "subject"))
        what = str(row.get("what")).removeprefix("malla.")
        facts = (row.get("time"), who, row.get("client"), what, *resources, row.get("code"), row.get("reason"))
        console().print("  ".join(str(fact) for fact in facts if fact) + f"  [{row.get('request_id')}]")
