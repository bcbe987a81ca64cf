"""Clients that chat over every kind of stream until told to stop, and say how each of their streams ended."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from common.client import MallaClient
from common.errors import Code, MallaError
from tests.e2e.mesh import Mesh

RETRIED = {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.CANCELLED}
"""What a client tries again where nothing of its stream had come."""

_PAUSE_S = 0.1


class RefusedError(Exception):
    """A stream did not begin: the client tries again."""


@dataclass
class Ends:
    """What became of the streams.

    Attributes:
        whole: Streams that ended in `done` with the full text, by kind.
        broken: All that began and did not.
        refused: Tries that found nobody, by kind.
        begun: Clients of which a stream has begun.
    """

    whole: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    begun: int = 0


Events = AsyncIterator[dict[str, Any]]
Talk = Callable[[Mesh, str], Events]


@dataclass
class Crowd:
    """Clients that stream, one answer after the other, until `stop` is set.

    Attributes:
        last_word: What every whole answer ends with.
    """

    mesh: Mesh
    last_word: str
    ends: Ends = field(default_factory=Ends)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, kind: str, talk: Talk, number: int) -> None:
        """One client."""
        turn = 0
        while not self.stop.is_set():
            turn += 1
            await self._one(kind, talk(self.mesh, f"{kind}-{number}-{turn}"), is_first=turn == 1)

    async def _one(self, kind: str, events: Events, *, is_first: bool) -> None:
        heard: list[dict[str, Any]] = []
        try:
            async with aclosing(events):  # type: ignore[type-var]
                async for event in events:
                    self.ends.begun += is_first and not heard
                    heard.append(event)
        except RefusedError:
            self.ends.refused[kind] += 1
            await asyncio.sleep(_PAUSE_S)
            return
        except (httpx.HTTPError, ConnectionClosed, MallaError, OSError) as error:
            self.ends.broken.append(f"{kind}: {error!r} after {len(heard)} events")
            return
        self._judge(kind, heard)

    def _judge(self, kind: str, heard: list[dict[str, Any]]) -> None:
        last = heard[-1] if heard else {}
        text = "".join(event["delta"]["text"] for event in heard if "delta" in event)
        if "done" in last and text == last["done"]["answer"] and text.endswith(self.last_word):
            self.ends.whole[kind] += 1
        else:
            self.ends.broken.append(f"{kind}: ended in {last} after {len(heard)} events")

    async def call(self, number: int, done: Counter[str]) -> None:
        """A client of unary calls that tries each one up to ten times."""
        body = {"collection_id": "vida", "query": f"¿Dónde duerme el gato? ({number})", "k": 1}
        async with httpx.AsyncClient(base_url=self.mesh.url, headers=_headers(self.mesh), timeout=30) as http:
            while not self.stop.is_set():
                done["failed" if await self._search(http, body, done) else "ok"] += 1
                await asyncio.sleep(_PAUSE_S)

    async def _search(self, http: httpx.AsyncClient, body: dict[str, Any], done: Counter[str]) -> bool:
        for attempt in range(10):
            try:
                response = await http.post("/api/v1/search", json=body)
                if response.status_code == 200:
                    return False
                assert response.status_code == 503, response.text
                assert response.json()["error"]["code"] == "UNAVAILABLE"
            except httpx.TransportError:
                pass
            done["tried again"] += 1
            await asyncio.sleep(_PAUSE_S * 2**attempt)
        return True


def _headers(mesh: Mesh) -> dict[str, str]:
    return {"authorization": f"Bearer {mesh.token}"}


async def sse(mesh: Mesh, session_id: str) -> Events:
    """An answer by SSE."""
    body = {"id_agente": 1, "mensaje": "hola", "session_id": session_id}
    begun = False
    async with httpx.AsyncClient(base_url=mesh.url, headers=_headers(mesh), timeout=60) as http:
        try:
            async with http.stream("POST", "/api/v1/groq/chat/stream", json=body) as response:
                if response.status_code == 503:
                    raise RefusedError
                assert response.status_code == 200, await response.aread()
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        begun = True
                        yield json.loads(line.removeprefix("data: "))
        except httpx.TransportError as error:
            if begun:
                raise
            raise RefusedError from error


async def grpc(mesh: Mesh, session_id: str) -> Events:
    """An answer by gRPC."""
    begun = False
    async with MallaClient(mesh.url.partition("://")[2], mesh.token) as client:
        try:
            async with aclosing(client.stream_chat(1, session_id, "hola")) as events:
                async for event in events:
                    begun = True
                    yield event.model_dump(mode="json", exclude_none=True)
        except MallaError as error:
            if begun or error.code not in RETRIED:
                raise
            raise RefusedError from error


async def websocket(mesh: Mesh, session_id: str) -> Events:
    """An answer by WebSocket, on a socket that then stays until the gateway closes it."""
    address = f"{mesh.url.replace('http', 'ws')}/api/v1/groq/chat/stream/{session_id}/1"
    begun = False
    try:
        async with connect(address, proxy=None, additional_headers=_headers(mesh), open_timeout=30) as socket:
            await socket.send(json.dumps({"mensaje": "hola"}))
            async for frame in _frames(socket):
                begun = True
                yield frame
                if frame.keys() & {"done", "error"}:
                    return
    except (OSError, InvalidHandshake, ConnectionClosed) as error:
        if begun:
            raise
        raise RefusedError from error


async def _frames(socket: ClientConnection) -> Events:
    async for frame in socket:
        yield json.loads(frame)


TALKS: tuple[tuple[str, Talk], ...] = (("sse", sse), ("grpc", grpc), ("websocket", websocket))
