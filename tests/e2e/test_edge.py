"""The proxy as callers meet it: the real Envoy in front of a stand-in for the servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import re
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import edge_backend
import grpc
import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.rpc import status_pb2
from jwt.algorithms import OKPAlgorithm
from malla.common.v1 import envelope_pb2
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.errors import Code
from common.proxy import ProxyConfig, RateLimit, command, render
from common.settings import DESCRIPTORS

JSON_LIMIT = 300_000
UPLOAD_LIMIT = 900_000
FREE_REQUESTS = 3
BUCKET = RateLimit(requests=100_000, per_s=1)
WAIT_S = 15.0

KEY = Ed25519PrivateKey.generate()
JWKS = {"keys": [json.loads(OKPAlgorithm.to_jwk(KEY.public_key())) | {"kid": "test", "alg": "EdDSA", "use": "sig"}]}


def token(*, key: Ed25519PrivateKey = KEY, **changes: object) -> str:
    """Returns a token; a change to None leaves the claim out."""
    claims = {"iss": "malla", "aud": "malla", "exp": int(time.time()) + 600, "sub": "ana", "tenant": "acme", "tier": "pro"}
    given = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(given, key, algorithm="EdDSA", headers={"kid": "test"})


def bearer(**changes: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token(**changes)}"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Mesh:
    """A running proxy and what is behind it."""

    proxy: ProxyConfig
    query: edge_backend.Query = field(default_factory=edge_backend.Query)

    @property
    def edge(self) -> str:
        return f"http://{self.proxy.edge}"

    @property
    def mesh(self) -> str:
        return f"http://{self.proxy.mesh}"

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.proxy.access_log_path.read_text().splitlines()]


def laptop(folder: Path, upstream_ports: dict[str, list[int]]) -> ProxyConfig:
    edge, mesh, admin = free_ports(3)
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(JWKS))
    proxy = ProxyConfig.laptop(
        edge_port=edge,
        mesh_port=mesh,
        admin_port=admin,
        upstream_ports=upstream_ports,
        jwks_path=jwks,
        access_log_path=folder / "access.log",
    )
    return proxy.model_copy(
        update={
            "json_body_bytes": JSON_LIMIT,
            "upload_body_bytes": UPLOAD_LIMIT,
            "default_deadline_s": 2,
            "headers_timeout_s": 1,
            "cors_origins": ("https://app.example",),
            "rate_limits": {"free": RateLimit(requests=FREE_REQUESTS, per_s=30), "pro": BUCKET, "enterprise": BUCKET},
        }
    )


@asynccontextmanager
async def running(proxy: ProxyConfig, ready: Callable[[httpx.Response], bool]) -> AsyncIterator[None]:
    """Runs Envoy until the block ends; enters it once /readyz answers as `ready` wants."""
    config = proxy.access_log_path.with_name("envoy.yaml")
    config.write_text(render(proxy))
    process = await asyncio.create_subprocess_exec(*command(config, concurrency=1))
    try:
        await answers(f"http://{proxy.edge}/readyz", ready)
        yield
    finally:
        process.terminate()
        await process.wait()


async def answers(url: str, wanted: Callable[[httpx.Response], bool], **arguments: Any) -> httpx.Response:
    """Asks until the answer is the wanted one, and returns it."""
    async with asyncio.timeout(WAIT_S), httpx.AsyncClient() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await client.request(arguments.get("method", "GET"), url, headers=arguments.get("headers"))
                if wanted(response):
                    return response
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    grpc_port, page_port = free_ports(2)
    ports = {"embedding": [grpc_port], "ingestion": [grpc_port], "query": [grpc_port], "gateway": [page_port]}
    one = Mesh(laptop(tmp_path_factory.mktemp("edge"), ports))
    pages = await asyncio.start_server(edge_backend.page, "127.0.0.1", page_port)
    async with pages, edge_backend.replica(grpc_port, one.query), running(one.proxy, lambda answer: answer.status_code == 200):
        yield one


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of tenant acme."""
    async with httpx.AsyncClient(base_url=mesh.edge, headers=bearer(), timeout=WAIT_S) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def channel(mesh: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(str(mesh.proxy.edge)) as one:
        yield one


def assert_shape(response: httpx.Response) -> dict[str, Any]:
    """Checks that the body is the one error shape and returns it."""
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"success", "message", "error", "metadata"}
    assert body["success"] is False
    assert body["message"]
    assert set(body["error"]) == {"type", "code", "details"}
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", body["error"]["type"])
    assert body["error"]["code"] in set(Code)
    assert isinstance(body["error"]["details"], dict)
    request_id = body["metadata"]["request_id"]
    assert isinstance(request_id, str)
    assert request_id == response.headers.get("x-request-id", request_id)
    return body


# -------------------------------------------------------------------------------------------------------------- the one shape


@dataclass(frozen=True)
class Failure:
    """A request that fails, and how."""

    name: str
    status: int
    type: str
    code: str
    says: str
    path: str = "/api/v1/embeddings"
    method: str = "POST"
    body: bytes = b'{"texts": ["hola"]}'
    headers: dict[str, str] | None = None
    details: dict[str, Any] | None = None


def told(text: str) -> bytes:
    return json.dumps({"texts": [text]}).encode()


NOT_SIGNED_BY_US = Ed25519PrivateKey.generate()
UNAUTHENTICATED = (401, "UNAUTHENTICATED", "UNAUTHENTICATED", "malla token create")
FORBIDDEN = (403, "PERMISSION_DENIED", "PERMISSION_DENIED", "malla token create --tenant")
NO_ROUTE = (404, "ROUTE_NOT_FOUND", "NOT_FOUND", "/docs")
BAD_INPUT = (400, "INVALID_REQUEST", "INVALID_ARGUMENT", "/docs")

FAILURES = [
    # what a server says
    Failure(
        "server: not found",
        404,
        "COLLECTION_NOT_FOUND",
        "NOT_FOUND",
        "There is no collection 'a\"b\\cañón'",
        body=told("fail:not_found"),
        details={"resource_type": "collection", "resource_id": 'a"b\\cañón'},
    ),
    Failure("server: invalid", 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", 'must be "QUERY"', body=told("fail:invalid")),
    Failure(
        "server: limit",
        400,
        "TEXT_CHARACTERS_EXCEEDED",
        "INVALID_ARGUMENT",
        "at most 5",
        body=told("fail:limit"),
        details={"limit": "text_characters", "allowed": 5, "actual": 6},
    ),
    Failure("server: overloaded", 429, "OVERLOADED", "RESOURCE_EXHAUSTED", "queue is full", body=told("fail:overloaded")),
    # what gRPC says without us
    Failure(
        "bare: message with quotes",
        404,
        "NOT_FOUND",
        "NOT_FOUND",
        'no "q" \\ here","details":[',
        body=told('fail:bare:NOT_FOUND:no "q" \\ here","details":['),
        details={},
    ),
    Failure("bare: no message", 409, "ABORTED", "ABORTED", "Try again", body=told("fail:bare:ABORTED:")),
    Failure(
        "bare: unimplemented",
        501,
        "UNIMPLEMENTED",
        "UNIMPLEMENTED",
        "/docs",
        body=told("fail:bare:UNIMPLEMENTED:Method not found!"),
    ),
    Failure(
        "bare: too many",
        429,
        "RESOURCE_EXHAUSTED",
        "RESOURCE_EXHAUSTED",
        "Try again",
        body=told("fail:bare:RESOURCE_EXHAUSTED:x"),
    ),
    Failure("bare: unavailable", 503, "UNAVAILABLE", "UNAVAILABLE", "malla status", body=told("fail:bare:UNAVAILABLE:x")),
    Failure("deadline of the server", 504, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "longer deadline", body=told("slow")),
    Failure(
        "deadline of the proxy",
        504,
        "DEADLINE_EXCEEDED",
        "DEADLINE_EXCEEDED",
        "longer deadline",
        body=told("slow"),
        headers={"grpc-timeout": "60S"},
    ),
    Failure(
        "stream: before the first event",
        404,
        "COLLECTION_NOT_FOUND",
        "NOT_FOUND",
        "There is no collection",
        path="/api/v1/query/stream",
        body=b'{"query": "fail:not_found"}',
    ),
    Failure(
        "ndjson: before the first event",
        404,
        "COLLECTION_NOT_FOUND",
        "NOT_FOUND",
        "There is no collection",
        path="/api/v1/jobs/missing/watch",
        method="GET",
        body=b"",
        headers={"accept": "application/x-ndjson"},
    ),
    # what Envoy says
    Failure("no token", *UNAUTHENTICATED, headers={"authorization": ""}),
    Failure("token: no token at all", *UNAUTHENTICATED, headers={"authorization": 'Bearer a"b'}),
    Failure("token: expired", *UNAUTHENTICATED, headers=bearer(exp=1), details={"reason": "Jwt is expired"}),
    Failure("token: never expires", *UNAUTHENTICATED, headers=bearer(exp=None)),
    Failure("token: other audience", *UNAUTHENTICATED, headers=bearer(aud="other")),
    Failure("token: other issuer", *UNAUTHENTICATED, headers=bearer(iss="other")),
    Failure("token: signed by another", *UNAUTHENTICATED, headers=bearer(key=NOT_SIGNED_BY_US)),
    Failure(
        "token: in the query string",
        *UNAUTHENTICATED,
        headers={"authorization": ""},
        path=f"/api/v1/embeddings?access_token={token()}",
    ),
    Failure("token: no tenant", *FORBIDDEN, headers=bearer(tenant=None)),
    Failure("token: no tenant, sent as a header", *FORBIDDEN, headers={**bearer(tenant=None), "x-tenant-id": "acme"}),
    Failure("token: two tenants", *FORBIDDEN, headers=bearer(tenant=["acme", "globex"])),
    Failure("token: tenant is no name", *FORBIDDEN, headers=bearer(tenant="Acme Corp")),
    Failure("token: tenant too long", *FORBIDDEN, headers=bearer(tenant="a" * 65)),
    Failure("token: unknown tier", *FORBIDDEN, headers=bearer(tier="gold")),
    Failure("unknown path", *NO_ROUTE, path="/api/v1/nothing"),
    Failure("unknown path, no token", *NO_ROUTE, path="/api/v1/nothing", headers={"authorization": ""}),
    Failure("beside a known path", *NO_ROUTE, path="/api/v1/embeddingsx"),
    Failure("unknown method", *NO_ROUTE, method="PUT"),
    Failure("gRPC path without gRPC", *NO_ROUTE, path="/malla.embedding.v1.EmbeddingService/Embed"),
    Failure("internal over HTTP", *NO_ROUTE, path="/internal/embed"),
    Failure("internal over gRPC's path", *NO_ROUTE, path="/malla.embedding.v1.InternalEmbeddingService/InternalEmbed"),
    Failure("JSON cut off", *BAD_INPUT, body=b'{"texts": ["a'),
    Failure("JSON of another type", *BAD_INPUT, body=b'{"texts": [{"a": 1}]}'),
    Failure("unknown name of an enum", *BAD_INPUT, body=b'{"kind": "\\"x\\""}'),
    Failure("unknown parameter", *BAD_INPUT, method="GET", path="/api/v1/collections?page_siz=1", body=b""),
    Failure(
        "escaped slash",
        400,
        "MALFORMED_REQUEST",
        "INVALID_ARGUMENT",
        "/docs",
        method="GET",
        path="/api/v1/collections/a%2Fb",
        body=b"",
        details={"reason": "path_normalization_failed"},
    ),
    Failure("underscore in a header", 400, "MALFORMED_REQUEST", "INVALID_ARGUMENT", "/docs", headers={"x_tenant_id": "acme"}),
    Failure(
        "body too large",
        413,
        "BODY_BYTES_EXCEEDED",
        "INVALID_ARGUMENT",
        f"{JSON_LIMIT:,} bytes",
        body=b"a" * (JSON_LIMIT + 1),
        details={"limit": "body_bytes", "allowed": JSON_LIMIT},
    ),
    Failure(
        "file too large",
        413,
        "UPLOAD_BYTES_EXCEEDED",
        "INVALID_ARGUMENT",
        f"{UPLOAD_LIMIT:,} bytes",
        path="/api/v1/collections/c/documents/a.txt:upload",
        body=b"a" * (UPLOAD_LIMIT + 1),
        details={"limit": "upload_bytes", "allowed": UPLOAD_LIMIT},
    ),
    Failure("headers too large", 431, "HEADERS_TOO_LARGE", "INVALID_ARGUMENT", "fewer", headers={"x-large": "a" * 40_000}),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
async def test_every_error_has_the_one_shape(http: httpx.AsyncClient, failure: Failure) -> None:
    headers = {key: value for key, value in {**http.headers, **(failure.headers or {})}.items() if value}
    request = httpx.Request(
        failure.method, f"{http.base_url}".rstrip("/") + failure.path, content=failure.body, headers=headers
    )
    response = await http.send(request)
    assert response.status_code == failure.status, response.text
    body = assert_shape(response)
    assert (body["error"]["type"], body["error"]["code"]) == (failure.type, failure.code)
    assert failure.says in body["message"]
    if failure.details is not None:
        assert body["error"]["details"] == failure.details
    assert not [name for name in response.headers if name.startswith(("grpc-", "x-envoy-"))]
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_what_an_uncaught_exception_said_stays_inside(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/embeddings", json={"texts": ["fail:bare:UNKNOWN:Unexpected <class>: password=hunter2"]})
    assert response.status_code == 500
    assert_shape(response)
    assert "hunter2" not in response.text


async def test_a_file_too_large_of_unknown_length_is_refused_midway(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"a" * 100_000

    response = await http.post("/api/v1/collections/c/documents/a.txt:upload", content=pieces())
    assert response.status_code == 413
    assert assert_shape(response)["error"]["type"] == "UPLOAD_BYTES_EXCEEDED"


@pytest.mark.parametrize(
    ("sent", "status", "error_type"),
    [(b"GET /healthz HTTP/1.1\r\nhost: a\r\n", 408, "REQUEST_TIMEOUT"), (b"NONSENSE\r\n\r\n", 400, "MALFORMED_REQUEST")],
)
async def test_requests_that_are_none_are_told_so_in_the_shape(mesh: Mesh, sent: bytes, status: int, error_type: str) -> None:
    reader, writer = await asyncio.open_connection(mesh.proxy.edge.host, mesh.proxy.edge.port)
    writer.write(sent)
    async with asyncio.timeout(WAIT_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.split()[1] == str(status).encode()
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    response = httpx.Response(status, headers=headers, content=body)
    assert assert_shape(response)["error"]["type"] == error_type
    assert headers["x-content-type-options"] == "nosniff"


async def test_retry_after_follows_the_servers_delay(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/embeddings", json={"texts": ["fail:overloaded"]})
    assert response.headers["retry-after"] == "2"
    assert response.json()["error"]["details"] == {"queue": "embedding", "retry_after_ms": 1500}


async def test_errors_of_the_gateway_pass_as_they_are(http: httpx.AsyncClient) -> None:
    response = await http.get("/static/missing.js")
    assert response.status_code == 404
    assert response.json()["message"] == "from the gateway"


# ------------------------------------------------------------------------------------------------------------------- identity


async def test_identity_comes_from_the_token_alone(http: httpx.AsyncClient) -> None:
    spoofed = {"x-tenant-id": "globex", "x-tier": "enterprise", "x-user-id": "root", "x-scope": "admin"}
    response = await http.post("/api/v1/embeddings", json={"texts": ["a"]}, headers=bearer() | spoofed)
    seen = response.json()["metadata"]
    assert (seen["x-tenant-id"], seen["x-tier"], seen["x-user-id"]) == ("acme", "pro", "ana")
    assert "x-scope" not in seen
    assert "authorization" not in seen


async def test_a_token_without_a_tier_is_of_the_lowest(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/embeddings", json={}, headers=bearer(tenant="no-tier", tier=None, scope="read write"))
    assert response.json()["metadata"]["x-tier"] == "free"
    assert response.json()["metadata"]["x-scope"] == "read write"


async def test_rate_limit_by_tenant(http: httpx.AsyncClient, channel: grpc.aio.Channel) -> None:
    asked = [await http.post("/api/v1/embeddings", json={}, headers=bearer(tenant="many", tier="free")) for _ in range(4)]
    assert [response.status_code for response in asked] == [200] * FREE_REQUESTS + [429]
    assert asked[0].headers["x-ratelimit-limit"] == str(FREE_REQUESTS)
    assert int(asked[-1].headers["retry-after"]) > 0
    body = assert_shape(asked[-1])
    assert (body["error"]["type"], body["error"]["code"]) == ("RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
    other = await http.post("/api/v1/embeddings", json={}, headers=bearer(tenant="few", tier="free"))
    assert other.status_code == 200
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "a", tenant="many", tier="free")
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# ----------------------------------------------------------------------------------------------------------- JSON and streams


async def test_json_is_snake_case_with_every_field(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/embeddings", json={"texts": ["a", "b"], "kind": "query"})
    assert response.status_code == 200
    body = response.json()
    assert body["message"] == "2 texts"
    assert body["metadata"]["kind"] == "1"
    assert body["embeddings"] == []
    assert body["dimensions"] == 0


async def test_request_ids_come_back(http: httpx.AsyncClient) -> None:
    kept = await http.post("/api/v1/embeddings", json={}, headers={"x-request-id": "mine-1"})
    assert kept.headers["x-request-id"] == "mine-1"
    assert kept.json()["metadata"]["x-request-id"] == "mine-1"
    cut = await http.post("/api/v1/embeddings", json={"texts": ["fail:not_found"]}, headers={"x-request-id": "a" * 400 + '"'})
    assert cut.headers["x-request-id"] == assert_shape(cut)["metadata"]["request_id"] == "a" * 128
    made = await http.post("/api/v1/embeddings", json={})
    assert made.headers["x-request-id"] == made.json()["metadata"]["x-request-id"]


@pytest.mark.parametrize(
    ("accept", "content_type", "prefix", "separator"),
    [("*/*", "text/event-stream", "data: ", "\n\n"), ("application/x-ndjson", "application/x-ndjson", "", "\n")],
    ids=["sse", "ndjson"],
)
@pytest.mark.parametrize(
    ("method", "path", "body", "events"),
    [("POST", "/api/v1/query/stream", {"query": "a"}, 3), ("GET", "/api/v1/jobs/j1/watch", None, edge_backend.MANY_EVENTS)],
    ids=["query", "watch"],
)
async def test_streams_are_framed_as_asked(
    http: httpx.AsyncClient,
    accept: str,
    content_type: str,
    prefix: str,
    separator: str,
    method: str,
    path: str,
    body: dict[str, str] | None,
    events: int,
) -> None:
    response = await http.request(method, path, json=body, headers={"accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert "content-encoding" not in response.headers
    frames = response.text.removesuffix(separator).split(separator)
    assert [frame.startswith(prefix) for frame in frames] == [True] * events
    assert all(json.loads(frame.removeprefix(prefix)) for frame in frames)


async def test_events_are_not_held_back_and_leaving_cancels(mesh: Mesh, http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(WAIT_S):
        async with http.stream("POST", "/api/v1/query/stream", json={"query": "gated"}) as response:
            first = await anext(response.aiter_text())
            assert json.loads(first.removeprefix("data: "))["delta"] == {"text": "uno "}
        await mesh.query.cancelled.wait()


async def test_uploads_stream_with_their_name_decoded(http: httpx.AsyncClient) -> None:
    path = "/api/v1/collections/c/documents/espa%C3%B1ol%20%26%20caf%C3%A9%25.txt:upload"
    content = b"a" * (UPLOAD_LIMIT - 1)
    response = await http.post(path, content=content, headers={"content-type": "text/plain"})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["document"]["document_id"] == "español & café%.txt"
    assert body["document"]["bytes"] == len(content)
    assert body["metadata"]["content_type"] == "text/plain"


async def test_large_json_is_compressed(http: httpx.AsyncClient) -> None:
    request = http.build_request(
        "POST", "/api/v1/embeddings", json={}, headers={"accept-encoding": "gzip", "x-long": "a" * 2000}
    )
    response = await http.send(request, stream=True)
    raw = b"".join([piece async for piece in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(raw))["success"] is True


# ---------------------------------------------------------------------------------------------------- headers, health, gateway


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/api/v1/nothing", "/api/v1/embeddings"])
async def test_security_headers_are_everywhere(http: httpx.AsyncClient, path: str) -> None:
    headers = (await http.get(path)).headers
    assert headers["strict-transport-security"].startswith("max-age=")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == (
        "default-src 'self'" if path == "/docs" else "default-src 'none'; frame-ancestors 'none'"
    )
    assert "server" not in headers
    assert not [name for name in headers if name.startswith(("grpc-", "x-envoy-"))]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/static/site.css"])
async def test_pages_are_open(mesh: Mesh, path: str) -> None:
    async with httpx.AsyncClient() as anyone:
        response = await anyone.get(mesh.edge + path)
    assert response.status_code == 200
    assert response.text == f"<p>{path}</p>"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_open(mesh: Mesh, path: str) -> None:
    async with httpx.AsyncClient() as anyone:
        response = await anyone.get(mesh.edge + path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["success"] is True
    assert response.json()["message"]


@pytest.mark.parametrize(("origin", "allowed"), [("https://app.example", True), ("https://other.example", False)])
async def test_cors_knows_its_origins(mesh: Mesh, origin: str, allowed: bool) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    async with httpx.AsyncClient() as anyone:
        response = await anyone.options(f"{mesh.edge}/api/v1/query", headers=headers)
    assert ("access-control-allow-origin" in response.headers) is allowed


async def test_the_log_tells_who_and_what_but_no_secret(mesh: Mesh, http: httpx.AsyncClient) -> None:
    path = "/api/v1/collections?page_size=7"
    await http.get(path, headers={"x-request-id": "logged-1"})
    await http.post("/api/v1/search", json={"query": "fail:not_found"}, headers={"x-request-id": "logged-2"})

    async def lines() -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(WAIT_S):
            while not {"logged-1", "logged-2"} <= set(found):  # Envoy writes its log every 10 s, or as a buffer fills
                found = {line["request_id"]: line for line in mesh.log_lines()}
                await asyncio.sleep(0.05)
        return found

    found = await lines()
    line = found["logged-1"]
    assert (line["tenant"], line["user"], line["method"], line["path"]) == ("acme", "ana", "GET", "/api/v1/collections")
    assert (line["status"], line["cluster"], line["attempts"]) == (200, "ingestion", 1)
    assert line["duration_ms"] >= 0
    assert (found["logged-2"]["status"], found["logged-2"]["error_code"]) == (404, "NOT_FOUND")
    text = mesh.proxy.access_log_path.read_text()
    assert "page_size" not in text
    assert token().split(".")[0] not in text


# ---------------------------------------------------------------------------------------------------------- gRPC and gRPC-Web


async def embed(
    channel: grpc.aio.Channel, text: str, timeout: float = WAIT_S, **claims: Any
) -> embedding_pb2.EmbeddingResponse:
    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    metadata = tuple(bearer(**claims).items())
    answer: embedding_pb2.EmbeddingResponse = await stub.Embed(
        embedding_pb2.EmbedRequest(texts=[text]), metadata=metadata, timeout=timeout
    )
    return answer


async def test_grpc_with_a_token(channel: grpc.aio.Channel) -> None:
    answer = await embed(channel, "hola")
    assert answer.message == "1 texts"
    assert answer.metadata["x-tenant-id"].string_value == "acme"


async def test_grpc_errors_keep_their_details(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "fail:not_found")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    trailers = dict(failed.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    body = envelope_pb2.ErrorResponse()
    assert status.details[-1].Unpack(body)
    assert body.error.type == "COLLECTION_NOT_FOUND"


@pytest.mark.parametrize(
    ("claims", "code", "says"),
    [
        ({"exp": 1}, grpc.StatusCode.UNAUTHENTICATED, "malla token create"),
        ({"aud": "other"}, grpc.StatusCode.UNAUTHENTICATED, "malla token create"),
        ({"tenant": None}, grpc.StatusCode.PERMISSION_DENIED, "malla token create --tenant"),
    ],
)
async def test_grpc_callers_are_refused_in_grpc(
    channel: grpc.aio.Channel, claims: dict[str, Any], code: grpc.StatusCode, says: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "a", **claims)
    assert failed.value.code() is code
    assert says in (failed.value.details() or "")


async def test_grpc_deadlines_are_honoured(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "slow", timeout=0.2)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_grpc_internal_services_are_not_at_the_edge(channel: grpc.aio.Channel) -> None:
    stub = embedding_pb2_grpc.InternalEmbeddingServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.InternalEmbed(embedding_pb2.InternalEmbedRequest(), metadata=tuple(bearer().items()))
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_grpc_streams_both_ways(channel: grpc.aio.Channel) -> None:
    metadata = tuple(bearer().items())
    events = query_pb2_grpc.QueryServiceStub(channel).StreamQuery(query_pb2.QueryRequest(query="a"), metadata=metadata)
    assert [event.sequence async for event in events] == [1, 2, 3]

    async def pieces() -> AsyncIterator[ingestion_pb2.UploadDocumentRequest]:
        first = ingestion_pb2.UploadDocumentRequest(collection_id="c", filename="a.txt")
        first.file.content_type = "text/plain"
        yield first
        for _ in range(8):
            piece = ingestion_pb2.UploadDocumentRequest()
            piece.file.data = b"a" * 64_000
            yield piece

    answer = await ingestion_pb2_grpc.IngestionServiceStub(channel).UploadDocument(pieces(), metadata=metadata)
    assert answer.document.bytes == 512_000  # more than a JSON body may have


def web_frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        frames.append((flags, body[5 : 5 + size]))
        body = body[5 + size :]
    return frames


async def grpc_web(http: httpx.AsyncClient, text: str, **headers: str) -> httpx.Response:
    message = embedding_pb2.EmbedRequest(texts=[text]).SerializeToString()
    framed = struct.pack(">BI", 0, len(message)) + message
    kind = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    return await http.post("/malla.embedding.v1.EmbeddingService/Embed", content=framed, headers=kind | headers)


async def test_grpc_web(http: httpx.AsyncClient) -> None:
    response = await grpc_web(http, "hola")
    (_, message), (flags, trailers) = web_frames(response.content)
    assert embedding_pb2.EmbeddingResponse.FromString(message).message == "1 texts"
    assert flags == 0x80
    assert b"grpc-status:0" in trailers


async def test_grpc_web_errors_are_grpc_errors(http: httpx.AsyncClient) -> None:
    failed = await grpc_web(http, "fail:not_found")
    assert failed.status_code == 200
    assert failed.headers["grpc-status"] == "5"
    details = failed.headers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    assert status.details[-1].Is(envelope_pb2.ErrorResponse.DESCRIPTOR)
    refused = await grpc_web(http, "hola", **bearer(exp=1))
    assert refused.headers["grpc-status"] == "16"
    assert "malla token create" in refused.headers["grpc-message"]


async def test_grpcurl_with_the_descriptor_set(mesh: Mesh) -> None:
    grpcurl = Path(sys.executable).with_name("grpcurl")
    flags = ["-plaintext", "-protoset", str(DESCRIPTORS), "-H", f"authorization: Bearer {token()}", "-d", '{"texts": ["a"]}']
    process = await asyncio.create_subprocess_exec(
        grpcurl,
        *flags,
        str(mesh.proxy.edge),
        "malla.embedding.v1.EmbeddingService/Embed",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert json.loads(out)["message"] == "1 texts"


# ------------------------------------------------------------------------------------------------------------------- the mesh


async def test_mesh_reaches_internal_services_over_json_and_grpc(mesh: Mesh) -> None:
    async with httpx.AsyncClient(base_url=mesh.mesh) as inside:
        headers = {"x-tenant-id": "acme", "x-request-id": "inside-1"}
        response = await inside.post("/internal/embed", json={"texts": ["a"]}, headers=headers)
        assert response.json()["metadata"]["x-tenant-id"] == "acme"
        assert response.headers["x-request-id"] == "inside-1"
        failed = await inside.post("/internal/embed", json={"texts": ["fail:not_found"]}, headers=headers)
        assert failed.status_code == 404
        assert assert_shape(failed)["error"]["type"] == "COLLECTION_NOT_FOUND"
        assert assert_shape(await inside.get("/internal/nothing"))["error"]["type"] == "ROUTE_NOT_FOUND"
    async with grpc.aio.insecure_channel(str(mesh.proxy.mesh)) as inside:
        answer = await internal_embed(inside)
        assert answer.message == "internal"
        assert "grpc-timeout" not in answer.metadata


async def internal_embed(channel: grpc.aio.Channel) -> embedding_pb2.InternalEmbeddingResponse:
    stub = embedding_pb2_grpc.InternalEmbeddingServiceStub(channel)
    request = embedding_pb2.InternalEmbedRequest(texts=["a"])
    answer: embedding_pb2.InternalEmbeddingResponse = await stub.InternalEmbed(
        request, metadata=(("x-tenant-id", "acme"),), timeout=WAIT_S
    )
    return answer


@asynccontextmanager
async def replica_process(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replica that can be killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, edge_backend.__file__, str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_replicas_die_and_return(tmp_path: Path) -> None:
    """Two replicas, one killed under load: no call fails. None left: calls fail at once. One back: calls succeed soon."""
    first, second, nothing = free_ports(3)
    ports = {"embedding": [first, second], "ingestion": [first, second], "query": [first, second], "gateway": [nothing]}
    proxy = laptop(tmp_path, ports)

    async with contextlib.AsyncExitStack() as running_ones:
        victim = await running_ones.enter_async_context(replica_process(first))
        survivor = await running_ones.enter_async_context(replica_process(second))
        await running_ones.enter_async_context(running(proxy, lambda answer: answer.status_code == 200))
        inside = await running_ones.enter_async_context(grpc.aio.insecure_channel(str(proxy.mesh)))
        http = await running_ones.enter_async_context(httpx.AsyncClient(base_url=f"http://{proxy.edge}", headers=bearer()))

        async def calls(stop: asyncio.Event) -> int:
            done = 0
            while not stop.is_set():
                assert (await internal_embed(inside)).success
                done += 1
            return done

        stop = asyncio.Event()
        load = [asyncio.create_task(calls(stop)) for _ in range(8)]
        await asyncio.gather(*(internal_embed(inside) for _ in range(20)))
        victim.kill()
        await victim.wait()
        await asyncio.gather(*(internal_embed(inside) for _ in range(200)))
        stop.set()
        assert sum(await asyncio.gather(*load)) > 0

        survivor.kill()
        await survivor.wait()
        down = await answers(f"http://{proxy.edge}/readyz", lambda answer: answer.status_code == 503)
        assert assert_shape(down)["error"]["type"] == "NOT_READY"
        started = time.monotonic()
        refused = await http.post("/api/v1/embeddings", json={})
        assert refused.status_code == 503
        body = assert_shape(refused)
        assert (body["error"]["type"], body["error"]["code"]) == ("DEPENDENCY_UNAVAILABLE", "UNAVAILABLE")
        assert body["error"]["details"] == {"dependency": "embedding"}
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await internal_embed(inside)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - started < 1.0
        page = await http.get("/docs")
        assert assert_shape(page)["error"]["details"] == {"dependency": "gateway"}

        await running_ones.enter_async_context(replica_process(second))
        returned = time.monotonic()
        await answers(f"http://{proxy.edge}/readyz", lambda answer: answer.status_code == 200)
        assert time.monotonic() - returned < 3.0
        assert (await internal_embed(inside)).success
