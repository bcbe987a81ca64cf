"""Every failure as HTTP callers meet it: one shape, whoever failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.e2e.edge import JSON_LIMIT, UPLOAD_LIMIT, WAIT_S, Edge, assert_shape, bearer, token


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
    # A server that stops cancels calls that it has not begun; whoever hears that did not cancel.
    Failure("bare: cancelled", 503, "UNAVAILABLE", "UNAVAILABLE", "Try again shortly", body=told("fail:bare:CANCELLED:")),
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
async def test_requests_that_are_none_are_told_so_in_the_shape(edge: Edge, sent: bytes, status: int, error_type: str) -> None:
    reader, writer = await asyncio.open_connection(edge.proxy.edge.host, edge.proxy.edge.port)
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
