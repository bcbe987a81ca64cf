"""The proxy under test: the real Envoy in front of a stand-in for the servers, tokens, and callers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc

from common.errors import Code
from common.identity import write_identity
from common.proxy import ProxyConfig, RateLimit, command, render
from common.tokens import KeyRing, SigningKey, TokenBook
from tests.e2e import edge_backend

JSON_LIMIT = 300_000
UPLOAD_LIMIT = 900_000
FREE_REQUESTS = 3
BUCKET = RateLimit(requests=100_000, per_s=1)
WAIT_S = 15.0

KEY = Ed25519PrivateKey.generate()


def token(*, key: Ed25519PrivateKey = KEY, **changes: object) -> str:
    """Returns a token; a change to None leaves the claim out."""
    claims = {
        "iss": "malla",
        "aud": "malla",
        "exp": int(time.time()) + 600,
        "sub": "ana",
        "tenant": "acme",
        "tier": "pro",
        "scope": "read write chat admin",
    }
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
class Edge:
    """A running proxy and what is behind it."""

    proxy: ProxyConfig
    query: edge_backend.Query = field(default_factory=edge_backend.Query)

    @property
    def url(self) -> str:
        return f"http://{self.proxy.edge}"

    @property
    def mesh(self) -> str:
        return f"http://{self.proxy.mesh}"

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.proxy.access_log_path.read_text().splitlines()]


def ring(folder: Path) -> KeyRing:
    """The keys of a proxy under test, and what it was told to revoke."""
    return KeyRing((SigningKey("test", KEY),), TokenBook(folder))


def laptop(folder: Path, upstream_ports: dict[str, list[int]]) -> ProxyConfig:
    edge, mesh, admin = free_ports(3)
    proxy = ProxyConfig.laptop(
        edge_port=edge,
        mesh_port=mesh,
        admin_port=admin,
        upstream_ports=upstream_ports,
        jwks_path=folder / "jwks.json",
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
async def running(
    proxy: ProxyConfig, ready: Callable[[httpx.Response], bool], keys: KeyRing | None = None
) -> AsyncIterator[None]:
    """Runs Envoy until the block ends; enters it once /readyz answers as `ready` wants."""
    config = proxy.access_log_path.with_name("envoy.yaml")
    config.write_text(render(proxy))
    write_identity(proxy, keys or ring(proxy.jwks_path.parent))
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
                response = await client.request(
                    arguments.get("method", "GET"), url, headers=arguments.get("headers"), content=arguments.get("content")
                )
                if wanted(response):
                    return response
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    grpc_port, page_port = free_ports(2)
    ports = {"embedding": [grpc_port], "ingestion": [grpc_port], "query": [grpc_port], "gateway": [page_port]}
    one = Edge(laptop(tmp_path_factory.mktemp("edge"), ports))
    pages = await asyncio.start_server(edge_backend.page, "127.0.0.1", page_port)
    async with pages, edge_backend.replica(grpc_port, one.query), running(one.proxy, lambda answer: answer.status_code == 200):
        yield one


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of tenant acme."""
    async with httpx.AsyncClient(base_url=edge.url, headers=bearer(), timeout=WAIT_S) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def channel(edge: Edge) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(str(edge.proxy.edge)) as one:
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


async def embed(
    channel: grpc.aio.Channel, text: str, timeout: float = WAIT_S, **claims: Any
) -> embedding_pb2.EmbeddingResponse:
    stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    metadata = tuple(bearer(**claims).items())
    answer: embedding_pb2.EmbeddingResponse = await stub.Embed(
        embedding_pb2.EmbedRequest(texts=[text]), metadata=metadata, timeout=timeout
    )
    return answer
