"""`malla certs`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from common.certs import LEAF_LIFETIME, Authority, Issued, authority_folder, issued_in, leaf_folder, renew_due
from common.proxy import MEMBERS
from common.settings import MeshSettings
from services.cli.durations import parse_ttl
from services.cli.output import JsonFlag, console, print_json

app = typer.Typer(
    help="Certificates by which the servers of a mesh know each other outside one machine.", rich_markup_mode=None
)

Folder = Annotated[
    Path,
    typer.Option("--folder", help="Where they are: the authority in keys/mesh-ca, each service's in certs/<service>."),
]
Days = Annotated[
    float, typer.Option("--days", min=0.001, max=397, help="How long a new certificate is good for.", show_default=True)
]
_DAYS = LEAF_LIFETIME / timedelta(days=1)


@app.callback()
def certs() -> None:
    """Certificates by which the servers of a mesh know each other outside one machine."""


@app.command("init")
def init(
    folder: Folder,
    trust_domain: Annotated[str, typer.Option(help="Domain of the SPIFFE ids.  [env: MALLA_TRUST_DOMAIN]")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Make the mesh's certificate authority, good for ten years. One that is there stays as it is."""
    authority = Authority.init(authority_folder(folder), trust_domain or MeshSettings().trust_domain)
    expires = authority.certificate.not_valid_after_utc
    if as_json:
        facts = {"trust_domain": authority.trust_domain, "folder": str(authority.folder), "expires_at": _time(expires)}
        print_json({"success": True, "message": "ready", **facts})
    else:
        console().print(f"The authority of {authority.trust_domain} is in {authority.folder}, good until {_time(expires)}.")


@app.command("issue")
def issue(
    folder: Folder,
    services: Annotated[list[str] | None, typer.Argument(help=f"For whom.  [default: {' '.join(MEMBERS)}]")] = None,
    days: Days = _DAYS,
    as_json: JsonFlag = False,
) -> None:
    """Make certificates, over those that are there. Processes that run use the new ones without a restart."""
    authority = Authority.open(authority_folder(folder))
    lifetime = timedelta(days=days)
    made = [authority.issue(one, leaf_folder(folder, one), lifetime=lifetime) for one in services or MEMBERS]
    _show(made, "issued", as_json)


@app.command("renew")
def renew(
    folder: Folder,
    days: Days = _DAYS,
    everyone: Annotated[bool, typer.Option("--all", help="Those with much of their life left, too.")] = False,
    every: Annotated[str, typer.Option(help="Stay, and look again after so long: 30m, 12h.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Make new certificates for those with less than a third of their life left."""
    pause = parse_ttl(every, "--every") if every else None
    while True:
        made = renew_due(folder, lifetime=timedelta(days=days), everyone=everyone)
        _show(made, "renewed", as_json)
        if pause is None:
            return
        time.sleep(pause.total_seconds())


@app.command("list")
def list_certificates(folder: Folder, as_json: JsonFlag = False) -> None:
    """Show whose certificates there are, and until when they are good."""
    _show(issued_in(folder), "found", as_json)


def _show(rows: list[Issued], verb: str, as_json: bool) -> None:
    now = datetime.now(UTC)
    if as_json:
        print_json({"success": True, "message": f"{len(rows)} {verb}", "certificates": [_row(one, now) for one in rows]})
        return
    if not rows:
        console().print(f"No certificate {verb}.")
        return
    _print_whole([("service", "id", "expires (UTC)", "state"), *(_cells(one, now) for one in rows)])


def _cells(one: Issued, now: datetime) -> tuple[str, ...]:
    return one.member, one.spiffe_id, f"{one.expires.astimezone(UTC):%Y-%m-%d %H:%M}", _state(one, now)


def _print_whole(rows: list[tuple[str, ...]]) -> None:
    """Prints columns that a narrow terminal neither cuts nor folds: ids are there to be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        console().print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(one: Issued, now: datetime) -> dict[str, Any]:
    return {"service": one.member, "spiffe_id": one.spiffe_id, "expires_at": _time(one.expires), "state": _state(one, now)}


def _state(one: Issued, now: datetime) -> str:
    return "expired" if one.expires <= now else "renew soon" if one.is_due(now) else "good"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
