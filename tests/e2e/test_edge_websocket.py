"""The WebSocket through the real Envoy: the real gateway, and a stand-in for the query server behind the mesh listener."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from common.proxy import ProxyConfig
from tests.e2e.edge import FREE_REQUESTS, JSON_LIMIT, WAIT_S, assert_shape, bearer, free_ports, laptop, running, token
from tests.fakes.chat import FakeChat
from tests.fakes.gateway import Client, chat_server, listening
from tests.fakes.waiting import until

PATH = "/api/v1/groq/chat/stream/user-123/1"


@dataclass
class Line:
    """A proxy with a gateway and a chat server behind it."""

    proxy: ProxyConfig
    chat: FakeChat

    @asynccontextmanager
    async def open(self, path: str = PATH, **arguments: Any) -> AsyncIterator[Client]:
        async with connect(f"ws://{self.proxy.edge}{path}", proxy=None, **arguments) as connection:
            yield Client(connection)

    async def refused(self, path: str = PATH, **arguments: Any) -> httpx.Response:
        """Returns the answer to a handshake that is refused."""
        with pytest.raises(InvalidStatus) as failed:
            async with self.open(path, **arguments):
                pass
        response = failed.value.response
        return httpx.Response(
            response.status_code, headers=list(response.headers.raw_items()), content=bytes(response.body or b"")
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    chat = FakeChat()
    (page_port,) = free_ports(1)
    async with chat_server(chat) as address:
        replicas = [int(address.rpartition(":")[2])]
        ports = {"embedding": replicas, "ingestion": replicas, "query": replicas, "gateway": [page_port]}
        proxy = laptop(tmp_path_factory.mktemp("websocket"), ports)
        async with listening(port=page_port, mesh_address=str(proxy.mesh)), running(proxy, lambda one: one.status_code == 200):
            yield Line(proxy, chat)


def offered(**changes: Any) -> list[Any]:
    """The subprotocols a browser offers to bring its token."""
    return ["malla.v1", f"malla.bearer.{token(**changes)}"]


async def test_many_turns_with_the_token_in_the_header(line: Line) -> None:
    spoofed = {"x-tenant-id": "globex", "x-tier": "enterprise", "x-user-id": "root", "x-scope": "admin"}
    headers = spoofed | {"x-request-id": "ws-1"} | bearer()
    async with line.open(additional_headers=headers) as client:
        for _ in range(3):
            assert "done" in (await client.ask("hola"))[-1]
    seen = line.chat.metadata[-1]
    assert (seen["x-tenant-id"], seen["x-tier"], seen["x-user-id"]) == ("acme", "pro", "ana")
    assert (seen["x-session-id"], seen["x-request-id"]) == ("user-123", "ws-1-3")
    assert seen["x-scope"] == "admin chat read write"
    assert "authorization" not in seen
    assert line.chat.requests[-1].id_agente == 1


async def test_the_token_as_a_subprotocol(line: Line) -> None:
    async with line.open(subprotocols=offered(tenant="browser")) as client:
        assert client.connection.subprotocol == "malla.v1"
        assert token()[:20] not in str(client.connection.response)
        assert "done" in (await client.ask("hola"))[-1]
    assert line.chat.metadata[-1]["x-tenant-id"] == "browser"


async def test_the_header_comes_before_the_subprotocol(line: Line) -> None:
    async with line.open(additional_headers=bearer(), subprotocols=offered(tenant="browser")) as client:
        await client.ask("hola")
    assert line.chat.metadata[-1]["x-tenant-id"] == "acme"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"additional_headers": bearer(exp=1)},
        {"subprotocols": ["malla.v1"]},
        {"subprotocols": ["malla.v1", "malla.bearer.abc"]},
        {"subprotocols": offered(exp=1)},
        {"subprotocols": offered(key=Ed25519PrivateKey.generate())},
        {"path": f"{PATH}?access_token={token()}"},
    ],
    ids=["none", "expired", "no offer", "no token", "offer expired", "offer forged", "query string"],
)
async def test_without_a_valid_token_nothing_opens(line: Line, arguments: dict[str, Any]) -> None:
    before = len(line.chat.requests)
    response = await line.refused(**arguments)
    assert response.status_code == 401
    assert assert_shape(response)["error"]["type"] == "UNAUTHENTICATED"
    assert len(line.chat.requests) == before


async def test_a_token_without_a_tenant_opens_nothing(line: Line) -> None:
    response = await line.refused(subprotocols=offered(tenant=None))
    assert (response.status_code, assert_shape(response)["error"]["type"]) == (403, "PERMISSION_DENIED")


async def test_refusals_of_the_gateway_pass_as_they_are(line: Line) -> None:
    response = await line.refused("/api/v1/groq/chat/stream/user-123/x", additional_headers=bearer())
    assert (response.status_code, assert_shape(response)["error"]["type"]) == (400, "INVALID_ARGUMENT")


async def test_opening_counts_against_the_rate_limit(line: Line) -> None:
    claims = {"tenant": "often", "tier": "free"}
    for _ in range(FREE_REQUESTS):
        async with line.open(subprotocols=offered(**claims)):
            pass
    response = await line.refused(subprotocols=offered(**claims))
    assert (response.status_code, assert_shape(response)["error"]["type"]) == (429, "RATE_LIMIT_EXCEEDED")


async def test_a_plain_request_is_told_what_to_do(line: Line) -> None:
    async with httpx.AsyncClient(base_url=f"http://{line.proxy.edge}", headers=bearer()) as http:
        response = await http.get(PATH)
        assert response.status_code == 426
        error = assert_shape(response)["error"]
        assert (error["type"], error["details"]) == ("UPGRADE_REQUIRED", {"upgrade": "websocket"})
        assert assert_shape(await http.get(PATH, headers={"authorization": ""}))["error"]["code"] == "UNAUTHENTICATED"
        beside = await http.get("/api/v1/groq/chat/stream/only-a-session", headers={"upgrade": "websocket"})
        assert beside.status_code in {400, 403, 404}
        assert_shape(beside)


async def test_no_other_route_upgrades(line: Line) -> None:
    for path in ("/api/v1/groq/chat/stream", "/api/v1/query/stream", "/docs"):
        assert (await line.refused(path, additional_headers=bearer())).status_code >= 400


async def test_a_socket_carries_more_than_a_body_may(line: Line) -> None:
    async with line.open(additional_headers=bearer()) as client:
        for _ in range(JSON_LIMIT // 60_000 + 2):
            assert "done" in (await client.ask("hola", pad="x" * 60_000))[-1]


async def test_it_carries_the_events_of_the_sse_stream(line: Line) -> None:
    body = {"mensaje": "hola", "session_id": "user-123", "id_agente": 1}
    async with httpx.AsyncClient(base_url=f"http://{line.proxy.edge}", headers=bearer()) as http:
        streamed = (await http.post("/api/v1/groq/chat/stream", json=body)).text
    async with line.open(additional_headers=bearer()) as client:
        events = await client.ask("hola")
    assert events == [json.loads(row.removeprefix("data: ")) for row in streamed.strip().split("\n\n")]


async def test_leaving_cancels_the_turn(line: Line) -> None:
    async with line.open(additional_headers=bearer()) as client:
        await client.say("gated")
        await client.event()
        before = len(line.chat.cancelled)
        client.connection.transport.abort()
        await until(lambda: len(line.chat.cancelled) > before)


async def test_events_are_not_held_back(line: Line) -> None:
    async with line.open(additional_headers=bearer()) as client:
        await client.say("gated")
        assert (await client.event())["delta"] == {"text": "uno "}
        line.chat.gate.set()
        assert "done" in (await client.turn())[-1]


async def test_no_token_is_in_the_log(line: Line) -> None:
    async with line.open(subprotocols=offered(), additional_headers={"x-request-id": "ws-logged"}) as client:
        await client.ask("hola")
    async with asyncio.timeout(WAIT_S):
        await until(lambda: "ws-logged" in line.proxy.access_log_path.read_text())
    log = line.proxy.access_log_path.read_text()
    assert token().split(".")[0] not in log
    (row,) = [one for one in map(json.loads, log.splitlines()) if one["request_id"] == "ws-logged"]
    assert (row["tenant"], row["status"], row["cluster"]) == ("acme", 101, "gateway")
