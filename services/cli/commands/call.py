"""`malla call`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from typing import Annotated, Any

import typer

from common.channel import open_channel
from common.context import Context, Tier
from services.cli.calling import Method, find_method, methods
from services.cli.data_dir import DataDir, running_mesh, settings_for
from services.cli.launcher.supervisor import FIRST_TENANT
from services.cli.output import CliError, JsonFlag, console, print_json
from services.cli.session import Edge, find_edge

_LONGEST_S = 600.0


def call(
    method: Annotated[str, typer.Argument(help="Such as Search, or malla.query.v1.QueryService/Search.")] = "",
    body: Annotated[str, typer.Argument(help="The request as JSON; - reads it from standard input.", metavar="JSON")] = "{}",
    through_mesh: Annotated[
        bool, typer.Option("--mesh", help="Call from inside the mesh, where the Internal services are, too.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="For whom, with --mesh.")] = FIRST_TENANT,
    timeout: Annotated[float, typer.Option(help="Seconds the call may take.", min=0.001)] = _LONGEST_S,
    list_all: Annotated[bool, typer.Option("--list", help="Name every method, and call none.")] = False,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Call any method by its name. What it answers is printed as JSON: a stream line by line, as it comes."""
    if list_all:
        _list(as_json)
        return
    if not method:
        raise typer.BadParameter("name a method; `malla call --list` names them all", param_hint="METHOD")
    wanted = find_method(method)
    if wanted.is_internal and not through_mesh:
        raise CliError(f"{wanted.name} is inside the mesh only: add --mesh.")
    settings = settings_for(data_dir)
    requests = wanted.requests(sys.stdin.read() if body == "-" else body)
    ctx = Context(tenant_id=tenant, tier=Tier.ENTERPRISE) if through_mesh else Context()
    edge = Edge(running_mesh(settings).mesh_address, "") if through_mesh else find_edge(settings)

    async def work() -> None:
        async with (
            open_channel(edge.address) as channel,
            aclosing(wanted.call(channel, requests, ctx, edge.token, timeout)) as rows,
        ):
            async for row in rows:
                _show(wanted, row, as_json)

    asyncio.run(work())


def _show(method: Method, row: dict[str, Any], as_json: bool) -> None:
    if as_json or method.descriptor.server_streaming:
        print_json(row)
    else:
        console().print(json.dumps(row, ensure_ascii=False, indent=2))


def _list(as_json: bool) -> None:
    names = [method.name for method in methods()]
    if as_json:
        print_json({"success": True, "message": f"{len(names)} methods", "methods": names})
    else:
        console().print("\n".join(names))
