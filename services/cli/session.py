"""Calls a mesh: finds its edge, and the token that lets a command in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import jwt

from common.client import MallaClient
from common.context import Tier
from common.tokens import KeyRing
from services.cli.data_dir import running_mesh
from services.cli.launcher.layout import Layout
from services.cli.launcher.state import MeshPhase, MeshState
from services.cli.output import CliError
from services.cli.settings import CliSettings

T = TypeVar("T")

_SPARE_S = 600
_OWN_TTL = timedelta(hours=1)


@dataclass(frozen=True)
class Edge:
    """Where calls go, and the token that lets them in."""

    address: str
    token: str = field(repr=False)


def find_edge(settings: CliSettings) -> Edge:
    """Returns the edge of the settings, or the one of the data dir with its first tenant's token."""
    if settings.address:
        if not settings.token.get_secret_value():
            raise CliError("MALLA_ADDRESS is set without MALLA_TOKEN. Make one with `malla token create` where the mesh runs.")
        return Edge(_checked_address(settings.address), _given_token(settings))
    state = running_mesh(settings)
    if state.phase is not MeshPhase.READY:
        raise CliError(f"The mesh in {settings.home} is {state.phase}. Wait until `malla status` says ready.")
    return Edge(state.address, _given_token(settings) or _own_token(state))


def _checked_address(address: str) -> str:
    """Returns the address as gRPC dials it: what `malla up` shows as the edge has a scheme before it."""
    plain = address.removeprefix("http://").rstrip("/")
    host, _, port = plain.rpartition(":")
    if not host or not port.isdecimal() or "/" in plain:
        raise CliError(f"MALLA_ADDRESS is '{address}'. Give host:port, such as mesh.example:8080.")
    return plain


def _given_token(settings: CliSettings) -> str:
    token = settings.token.get_secret_value().strip()
    if not (token.isascii() and token.isprintable()):
        raise CliError("MALLA_TOKEN holds what no token has. Make one with `malla token create`.")
    return token


def _own_token(state: MeshState) -> str:
    """Returns the first tenant's token; another where the one from the start is good no more: whoever has the keys may."""
    given = jwt.decode_complete(state.token, options={"verify_signature": False})
    claims, signed_by = given["payload"], given["header"]["kid"]
    keys = KeyRing.open(Layout(state.data_dir).keys)
    lasts = claims["exp"] > time.time() + _SPARE_S
    if lasts and signed_by in {key.kid for key in keys.keys} and claims["jti"] not in keys.book.revoked():
        return state.token
    return keys.issue(tenant=claims["tenant"], tier=Tier(claims["tier"]), ttl=_OWN_TTL, subject="malla")


def call(edge: Edge, work: Callable[[MallaClient], Coroutine[Any, Any, T]]) -> T:
    """Runs a command's calls, with a client that is closed after them."""

    async def with_client() -> T:
        async with MallaClient(edge.address, edge.token) as client:
            return await work(client)

    return asyncio.run(with_client())


@contextmanager
def connected(edge: Edge) -> Iterator[tuple[asyncio.Runner, MallaClient]]:
    """Keeps one client open from call to call, for a command that waits for a person in between.

    Ctrl-C during `runner.run` cancels what runs and raises KeyboardInterrupt; the client can be used again after it.
    """

    async def opened() -> MallaClient:
        return MallaClient(edge.address, edge.token)

    with asyncio.Runner() as runner:
        client = runner.run(opened())
        try:
            yield runner, client
        finally:
            runner.run(client.close())
