"""JSON, streams and uploads through the edge."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx
import pytest

from tests.e2e import edge_backend
from tests.e2e.edge import UPLOAD_LIMIT, WAIT_S, Edge, assert_shape


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


async def test_events_are_not_held_back_and_leaving_cancels(edge: Edge, http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(WAIT_S):
        async with http.stream("POST", "/api/v1/query/stream", json={"query": "gated"}) as response:
            first = await anext(response.aiter_text())
            assert json.loads(first.removeprefix("data: "))["delta"] == {"text": "uno "}
        await edge.query.cancelled.wait()


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
