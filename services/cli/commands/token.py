"""`malla token`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from common.context import Tier
from common.tokens import SCOPES, IssuedToken
from services.cli.data_dir import DataDir
from services.cli.durations import parse_ttl
from services.cli.output import CliError, JsonFlag, console, print_json, write
from services.cli.tokens import TokenPlace, token_argument

app = typer.Typer(help="Tokens that open the edge, and the keys that sign them.", rich_markup_mode=None)

Folder = Annotated[
    Path | None, typer.Option("--folder", help="The folder that containers share, such as /etc/malla, instead of a data dir.")
]


@app.callback()
def token() -> None:
    """Tokens that open the edge, and the keys that sign them."""


@app.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Whose data it opens.")],
    tier: Annotated[Tier, typer.Option(help="What the tenant has paid for.")] = Tier.FREE,
    ttl: Annotated[str, typer.Option(help="How long it is good for: 90s, 30m, 24h, 7d.")] = "24h",
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What it is good for: {', '.join(SCOPES)}; repeatable.  [default: all]")
    ] = None,
    subject: Annotated[str, typer.Option(help="Who holds it.")] = "",
    data_dir: DataDir = None,
    folder: Folder = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a token. The mesh need not run; one that runs accepts it at once."""
    lifetime = parse_ttl(ttl)
    keys = TokenPlace.of(data_dir, folder).ring()
    made = keys.issue(tenant=tenant, tier=tier, ttl=lifetime, scopes=scope or SCOPES, subject=subject)
    if as_json:
        expires = (datetime.now(UTC) + lifetime).isoformat(timespec="seconds")
        facts = {"tenant": tenant, "tier": tier.value, "scopes": list(scope or SCOPES), "expires_at": expires}
        print_json({"success": True, "message": "made", "token": made, **facts})
    else:
        write(made + "\n")


@app.command("list")
def list_tokens(
    tenant: Annotated[str, typer.Option(help="Of this tenant only.")] = "",
    data_dir: DataDir = None,
    folder: Folder = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the tokens made here that have not expired: what each is known by, never the token itself."""
    keys = TokenPlace.of(data_dir, folder).ring()
    revoked = keys.book.revoked()
    signers = {key.kid for key in keys.keys}
    rows = [_row(one, revoked, signers) for one in keys.book.issued() if tenant in {"", one.tenant}]
    if as_json:
        print_json({"success": True, "message": f"{len(rows)} tokens", "tokens": rows})
        return
    out = console()
    if not rows:
        out.print("No token made here is left. Make one: malla token create --tenant NAME")
    for row in rows:
        # No table: beside an id, which is what `revoke` takes, a terminal has no room for all of them.
        expires = datetime.fromisoformat(row["expires_at"])
        out.print(f"{row['jti']}  {row['state']}, expires {expires:%Y-%m-%d %H:%M} UTC")
        held = f", held by {row['subject']}" if row["subject"] else ""
        out.print(f"    {row['tenant']}, {row['tier']}: {' '.join(row['scopes'])}{held}", style="dim")


def _row(one: IssuedToken, revoked: frozenset[str], signers: set[str]) -> dict[str, Any]:
    state = "revoked" if one.jti in revoked else "good" if one.kid in signers else "key dropped"
    return {
        "jti": one.jti,
        "tenant": one.tenant,
        "tier": one.tier.value,
        "scopes": list(one.scopes),
        "subject": one.subject,
        "issued_at": _time(one.issued_at),
        "expires_at": _time(one.expires_at),
        "state": state,
    }


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(help="The token's id, or the token; '-' reads it from standard input.")] = "",
    tenant: Annotated[str, typer.Option(help="Every token of this tenant made here instead.")] = "",
    data_dir: DataDir = None,
    folder: Folder = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a token good for nothing. A mesh that runs refuses it within a second, and ends its streams and WebSockets."""
    if bool(token) == bool(tenant):
        raise CliError("Give one token or its id, or --tenant. See `malla token list`.")
    place = TokenPlace.of(data_dir, folder)
    ended = place.of_tenant(tenant) if tenant else [place.find(token_argument(token))]
    place.revoke([*ended])
    if as_json:
        rows = [{"jti": one.jti, "expires_at": _time(one.expires_at)} for one in ended]
        print_json({"success": True, "message": "revoked", "tokens": rows})
    else:
        console().print(f"Revoked: {', '.join(one.jti for one in ended)}")


@app.command("rotate")
def rotate(
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Remove every key but the newest; their tokens stop at once.")
    ] = False,
    data_dir: DataDir = None,
    folder: Folder = None,
    as_json: JsonFlag = False,
) -> None:
    """Sign with a new key from now on. Tokens of the old one stay good until they expire, or until --drop-old."""
    keys = TokenPlace.of(data_dir, folder).rotate(drop_old=drop_old)
    names = [key.kid for key in keys.keys]
    if as_json:
        print_json({"success": True, "message": "rotated", "signing_key": names[-1], "keys": names})
    else:
        old = f" Still good: {', '.join(names[:-1])}." if names[:-1] else " No other key is good."
        console().print(f"New tokens are signed by {names[-1]}.{old}")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
