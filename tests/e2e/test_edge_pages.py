"""What the edge adds for everyone: headers, health, pages, CORS, the access log."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.e2e.edge import WAIT_S, Edge, token


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
async def test_pages_are_open(edge: Edge, path: str) -> None:
    async with httpx.AsyncClient() as anyone:
        response = await anyone.get(edge.url + path)
    assert response.status_code == 200
    assert response.text == f"<p>{path}</p>"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_open(edge: Edge, path: str) -> None:
    async with httpx.AsyncClient() as anyone:
        response = await anyone.get(edge.url + path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["success"] is True
    assert response.json()["message"]


@pytest.mark.parametrize(("origin", "allowed"), [("https://app.example", True), ("https://other.example", False)])
async def test_cors_knows_its_origins(edge: Edge, origin: str, allowed: bool) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    async with httpx.AsyncClient() as anyone:
        response = await anyone.options(f"{edge.url}/api/v1/query", headers=headers)
    assert ("access-control-allow-origin" in response.headers) is allowed


async def test_the_log_tells_who_and_what_but_no_secret(edge: Edge, http: httpx.AsyncClient) -> None:
    path = "/api/v1/collections?page_size=7"
    await http.get(path, headers={"x-request-id": "logged-1"})
    await http.post("/api/v1/search", json={"query": "fail:not_found"}, headers={"x-request-id": "logged-2"})

    async def lines() -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(WAIT_S):
            while not {"logged-1", "logged-2"} <= set(found):  # Envoy writes its log every 10 s, or as a buffer fills
                found = {line["request_id"]: line for line in edge.log_lines()}
                await asyncio.sleep(0.05)
        return found

    found = await lines()
    line = found["logged-1"]
    assert (line["tenant"], line["user"], line["method"], line["path"]) == ("acme", "ana", "GET", "/api/v1/collections")
    assert (line["status"], line["cluster"], line["attempts"]) == (200, "ingestion", 1)
    assert line["duration_ms"] >= 0
    assert (found["logged-2"]["status"], found["logged-2"]["error_code"]) == (404, "NOT_FOUND")
    text = edge.proxy.access_log_path.read_text()
    assert "page_size" not in text
    assert token().split(".")[0] not in text
