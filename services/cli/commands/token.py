"""`malla token`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from common.context import Tier
from common.tokens import KeyRing
from services.cli.launcher.plan import Layout
from services.cli.output import JsonFlag, print_json, write
from services.cli.session import DataDir, settings_for

app = typer.Typer(help="Tokens that open the edge.", rich_markup_mode=None)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@app.callback()
def token() -> None:
    """Tokens that open the edge."""


@app.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Whose data it opens.")],
    tier: Annotated[Tier, typer.Option(help="What the tenant has paid for.")] = Tier.FREE,
    ttl: Annotated[str, typer.Option(help="How long it is good for: 90s, 30m, 24h, 7d.")] = "24h",
    scope: Annotated[list[str] | None, typer.Option(help="What it is good for; repeatable; none for everything.")] = None,
    subject: Annotated[str, typer.Option(help="Who holds it.")] = "",
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a token. The mesh need not run; one that runs accepts it at once."""
    lifetime = parse_ttl(ttl)
    layout = Layout(settings_for(data_dir).home)
    keys = KeyRing.open(layout.keys)
    made = keys.issue(tenant=tenant, tier=tier, ttl=lifetime, scopes=scope or (), subject=subject)
    if as_json:
        expires = (datetime.now(UTC) + lifetime).isoformat(timespec="seconds")
        print_json(
            {"success": True, "message": "made", "token": made, "tenant": tenant, "tier": tier.value, "expires_at": expires}
        )
    else:
        write(made + "\n")


def parse_ttl(text: str) -> timedelta:
    """Reads "90s", "30m", "24h", "7d" or plain seconds. Raises typer.BadParameter for anything else."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"'{text}' is no duration: use 90s, 30m, 24h or 7d", param_hint="--ttl")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2] or "s"])
