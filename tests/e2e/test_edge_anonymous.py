"""What the edge does with callers of no valid token: counted by their address, told what is wrong, and given a request id."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
import pytest_asyncio

from common.proxy import RateLimit
from tests.e2e import edge_backend
from tests.e2e.edge import WAIT_S, Edge, assert_shape, bearer, embed, free_ports, laptop, running

PATH = "/api/v1/embeddings"
ALLOWED = 5


@pytest_asyncio.fixture(loop_scope="session")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """An edge of its own, whose bucket for those without a token is small and does not fill again within a test."""
    grpc_port, page_port = free_ports(2)
    ports = {"embedding": [grpc_port], "ingestion": [grpc_port], "query": [grpc_port], "gateway": [page_port]}
    limit = RateLimit(requests=ALLOWED, per_s=3600)
    one = Edge(laptop(tmp_path_factory.mktemp("strict"), ports).model_copy(update={"anonymous_limit": limit}))
    pages = await asyncio.start_server(edge_backend.page, "127.0.0.1", page_port)
    async with pages, edge_backend.replica(grpc_port, one.query), running(one.proxy, lambda answer: answer.status_code == 200):
        yield one


async def post(edge: Edge, headers: dict[str, str], source: str = "127.0.0.1") -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with httpx.AsyncClient(base_url=edge.url, timeout=WAIT_S, transport=transport) as client:
        return await client.post(PATH, json={"texts": ["a"]}, headers=headers)


REFUSED = {
    "none": ({}, "Jwt is missing"),
    "broken": ({"authorization": "Bearer a.b.c"}, "Jwt header is an invalid Base64url encoded"),
    "expired": (bearer(exp=1), "Jwt is expired"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_calls_without_a_valid_token_are_counted_by_address(strict: Edge, kind: str) -> None:
    headers, _ = REFUSED[kind]
    answers = [await post(strict, headers) for _ in range(ALLOWED + 1)]
    assert [one.status_code for one in answers] == [401] * ALLOWED + [429]
    body = assert_shape(answers[-1])
    assert (body["error"]["type"], body["error"]["code"]) == ("RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
    assert body["error"]["details"] == {"limit": "anonymous_requests"}
    assert "without a valid token" in body["message"]
    assert int(answers[-1].headers["retry-after"]) > 0
    # Neither another address nor a valid token from the same one suffers.
    assert (await post(strict, headers, source="127.0.0.2")).status_code == 401
    assert {(await post(strict, bearer())).status_code for _ in range(2 * ALLOWED)} == {200}


@pytest.mark.parametrize("path", ["/docs", "/", "/static/a.js", "/nothing", "/internal/embed"])
async def test_pages_are_counted_too(strict: Edge, path: str) -> None:
    async with httpx.AsyncClient(base_url=strict.url, timeout=WAIT_S) as anyone:
        statuses = [(await anyone.get(path)).status_code for _ in range(ALLOWED + 1)]
    assert 429 not in statuses[:-1]
    assert statuses[-1] == 429


async def test_health_is_never_refused(strict: Edge) -> None:
    async with httpx.AsyncClient(base_url=strict.url, timeout=WAIT_S) as anyone:
        for path in ("/healthz", "/readyz"):
            assert {(await anyone.get(path)).status_code for _ in range(2 * ALLOWED)} == {200}
        assert (await anyone.get("/docs")).status_code == 200  # nothing of it was counted


async def test_grpc_callers_are_told_in_their_own_words(strict: Edge) -> None:
    async with grpc.aio.insecure_channel(str(strict.proxy.edge)) as channel:
        codes = []
        for _ in range(ALLOWED + 1):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await embed(channel, "a", exp=1)
            codes.append(failed.value.code())
    assert codes == [grpc.StatusCode.UNAUTHENTICATED] * ALLOWED + [grpc.StatusCode.RESOURCE_EXHAUSTED]


async def test_the_buckets_are_bounded_and_a_forgotten_address_begins_again(strict: Edge) -> None:
    """No memory without end: what is kept of an address is forgotten as others come, and never refuses those."""
    sources = [f"127.0.{third}.{fourth}" for third in (1, 2) for fourth in range(1, 31)]
    assert {(await post(strict, {}, source=source)).status_code for source in sources} == {401}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_refusal_says_what_is_wrong_with_the_token(edge: Edge, kind: str) -> None:
    headers, reason = REFUSED[kind]
    response = await post(edge, headers)
    assert (response.status_code, assert_shape(response)["error"]["details"]) == (401, {"reason": reason})
    challenge = 'Bearer realm="malla"' + ("" if kind == "none" else ', error="invalid_token"')
    assert response.headers["www-authenticate"] == challenge


@pytest.mark.parametrize("asks", [{}, {"origin": "https://evil.example", "access-control-request-method": "POST"}], ids=str)
async def test_options_without_a_token_is_unauthenticated(edge: Edge, asks: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=edge.url, timeout=WAIT_S) as anyone:
        response = await anyone.options(PATH, headers=asks)
    body = assert_shape(response)
    assert (response.status_code, body["error"]["type"]) == (401, "UNAUTHENTICATED")
    assert "access-control-allow-origin" not in response.headers


async def test_a_header_from_outside_is_no_token(edge: Edge) -> None:
    headers = {"x-token-expires": "99999999999", "x-tenant-id": "acme", "x-tier": "pro", "x-scope": "admin"}
    assert (await post(edge, headers)).status_code == 401


def refused_early(edge: Edge, *headers: str) -> tuple[dict[str, str], dict[str, object]]:
    """Asks for a path that the proxy refuses before it reads on; returns headers and body."""
    with socket.create_connection((edge.proxy.edge.host, edge.proxy.edge.port), timeout=WAIT_S) as peer:
        asked = ("GET /api/v1/collections/a%2Fb HTTP/1.1", "host: edge", "connection: close", *headers)
        peer.sendall("\r\n".join((*asked, "", "")).encode())
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
    head, _, body = answer.decode().partition("\r\n\r\n")
    rows = (line.partition(": ") for line in head.split("\r\n")[1:])
    return {name.lower(): value for name, _, value in rows}, json.loads(body)


def test_what_is_refused_unread_has_a_request_id(edge: Edge) -> None:
    headers, body = refused_early(edge)
    assert body["metadata"] == {"request_id": headers["x-request-id"]}
    assert headers["x-request-id"].startswith("refused-")
    assert "127.0.0.1" not in headers["x-request-id"]
    assert refused_early(edge)[0]["x-request-id"] != headers["x-request-id"]
    headers, body = refused_early(edge, "x-request-id: mine-1")
    assert body["metadata"] == {"request_id": headers["x-request-id"]} == {"request_id": "mine-1"}
