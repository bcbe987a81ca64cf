"""A gateway that listens, in front of a chat server whose behaviour a test chooses."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from common.server import serving
from common.settings import ServerSettings
from services.gateway.bootstrap import build_app
from services.gateway.chat import ChatSockets
from services.gateway.server import DrainingServer, server_config
from services.gateway.settings import GatewaySettings
from tests.fakes.chat import FakeChat

WAIT_S = 20.0
EDGE = {"x-tenant-id": "acme", "x-tier": "pro", "x-user-id": "ana", "x-request-id": "r1"}
"""What the edge says of the caller."""


@dataclass
class Gateway:
    """A running gateway and the chat server behind it."""

    port: int
    chat: FakeChat = field(default_factory=FakeChat)

    def url(self, path: str = "/api/v1/groq/chat/stream/s1/7") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    @asynccontextmanager
    async def open(self, path: str = "/api/v1/groq/chat/stream/s1/7", **arguments: Any) -> AsyncIterator[Client]:
        """Opens a socket as the edge would."""
        headers = EDGE | arguments.pop("headers", {})
        async with connect(self.url(path), additional_headers=headers, proxy=None, **arguments) as connection:
            yield Client(connection)


@dataclass
class Client:
    """One open socket."""

    connection: ClientConnection

    async def say(self, mensaje: str, **more: Any) -> None:
        await self.connection.send(json.dumps({"mensaje": mensaje, **more}))

    async def event(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            event: dict[str, Any] = json.loads(await self.connection.recv())
        return event

    async def turn(self) -> list[dict[str, Any]]:
        """Returns the events of one turn."""
        events = [await self.event()]
        while not {"done", "error"} & events[-1].keys():
            events.append(await self.event())
        return events

    async def ask(self, mensaje: str, **more: Any) -> list[dict[str, Any]]:
        await self.say(mensaje, **more)
        return await self.turn()

    async def close_code(self) -> int | None:
        async with asyncio.timeout(WAIT_S):
            await self.connection.wait_closed()
        return self.connection.close_code


@asynccontextmanager
async def chat_server(chat: FakeChat) -> AsyncIterator[str]:
    """Serves the fake; yields its address."""
    try:
        async with serving(ServerSettings(_env_file=None, port=0, drain_grace_s=0), [chat.service]) as address:
            yield address
    finally:
        chat.gate.set()


@asynccontextmanager
async def gateway(**changes: Any) -> AsyncIterator[Gateway]:
    """Serves a gateway with the given settings changed, in front of a chat server of its own."""
    chat = FakeChat()
    async with chat_server(chat) as address, listening(**{"mesh_address": address, **changes}) as port:
        yield Gateway(port, chat)


@asynccontextmanager
async def listening(**changes: Any) -> AsyncIterator[int]:
    """Serves a gateway in this process, as its own would; yields its port."""
    settings = GatewaySettings(_env_file=None, **{"drain_grace_s": 1.0, **changes})
    sockets = ChatSockets(settings)
    server = DrainingServer(server_config(build_app(chat=sockets), settings), sockets.drain, settings.drain_grace_s)
    with socket.create_server((settings.host, settings.port)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task
