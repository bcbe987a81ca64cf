"""Bad input through the whole mesh: the right status, the one error shape, a message that helps, nothing left behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from malla.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.channel import open_channel
from tests.e2e.mesh import SAMPLES, Mesh, create_collection, eventually, finished_job

DOCUMENTS = "/api/v1/collections/malos/documents"
TRUNCATED_PDF = (SAMPLES / "nopal-fibra/es/modem-y-luces.pdf").read_bytes()[:2000]


@pytest.fixture(scope="module")
def http(mesh: Mesh) -> Iterator[httpx.Client]:
    with mesh.http() as client:
        create_collection(client, "malos")
        yield client


def check_shape(response: httpx.Response, status: int, code: str, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"success", "message", "error", "metadata"}
    assert body["success"] is False
    assert len(body["message"]) > 20
    assert set(body["error"]) == {"type", "code", "details"}
    assert (body["error"]["code"], body["error"]["type"]) == (code, kind)
    assert body["metadata"]["request_id"]
    return body


INVALID = ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
REFUSED = ("INVALID_ARGUMENT", "INVALID_REQUEST")

ROWS: list[tuple[str, str, str, Any, int, tuple[str, str]]] = [
    ("no text", "POST", "/api/v1/embeddings", {"texts": []}, 400, INVALID),
    ("empty text", "POST", "/api/v1/embeddings", {"texts": ["a", ""]}, 400, INVALID),
    ("blank text", "POST", "/api/v1/embeddings", {"texts": ["  "]}, 400, INVALID),
    ("oversized text", "POST", "/api/v1/embeddings", {"texts": ["a" * 20_001]}, 400, INVALID),
    ("batch over the limit", "POST", "/api/v1/embeddings", {"texts": ["a"] * 257}, 400, INVALID),
    ("unknown model", "POST", "/api/v1/embeddings", {"texts": ["a"], "model": "x"}, 404, ("NOT_FOUND", "MODEL_NOT_FOUND")),
    ("unknown kind", "POST", "/api/v1/embeddings", {"texts": ["a"], "kind": "NONE"}, 400, REFUSED),
    ("empty document", "POST", DOCUMENTS, {"text": ""}, 400, INVALID),
    ("blank document", "POST", DOCUMENTS, {"text": " \n "}, 400, INVALID),
    ("oversized document", "POST", DOCUMENTS, {"text": "a" * 1_000_001}, 400, INVALID),
    ("bad identifier", "POST", DOCUMENTS, {"text": "a", "document_id": "a/b"}, 400, INVALID),
    (
        "unknown collection",
        "POST",
        "/api/v1/collections/ninguna/documents",
        {"text": "a"},
        404,
        ("NOT_FOUND", "COLLECTION_NOT_FOUND"),
    ),
    ("unknown document", "GET", DOCUMENTS + "/ninguno", None, 404, ("NOT_FOUND", "DOCUMENT_NOT_FOUND")),
    ("unknown job", "GET", "/api/v1/jobs/ninguno", None, 404, ("NOT_FOUND", "JOB_NOT_FOUND")),
    ("watching an unknown job", "GET", "/api/v1/jobs/ninguno/watch", None, 404, ("NOT_FOUND", "JOB_NOT_FOUND")),
    (
        "streaming from an unknown collection",
        "POST",
        "/api/v1/query/stream",
        {"collection_id": "ninguna", "query": "q"},
        404,
        ("NOT_FOUND", "COLLECTION_NOT_FOUND"),
    ),
    ("blank query", "POST", "/api/v1/search", {"collection_id": "malos", "query": " "}, 400, INVALID),
    ("missing collection", "POST", "/api/v1/search", {"query": "q"}, 400, INVALID),
    ("k over the limit", "POST", "/api/v1/search", {"collection_id": "malos", "query": "q", "k": 101}, 400, INVALID),
    (
        "malformed filter",
        "POST",
        "/api/v1/search",
        {"collection_id": "malos", "query": "q", "filter": {"a": {"near": 1}}},
        400,
        INVALID,
    ),
    ("foreign page token", "GET", "/api/v1/collections?page_token=%21", None, 400, INVALID),
    ("unknown parameter", "GET", "/api/v1/collections?foo=1", None, 400, REFUSED),
    ("unknown path", "GET", "/api/v1/nada", None, 404, ("NOT_FOUND", "ROUTE_NOT_FOUND")),
    (
        "taken collection",
        "POST",
        "/api/v1/collections",
        {"collection_id": "malos"},
        409,
        ("ALREADY_EXISTS", "COLLECTION_ALREADY_EXISTS"),
    ),
    ("bad language", "POST", "/api/v1/collections", {"collection_id": "x", "language": "español"}, 400, INVALID),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "error"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_bad_requests(http: httpx.Client, method: str, path: str, body: Any, status: int, error: tuple[str, str]) -> None:
    check_shape(http.request(method, path, json=body), status, *error)


def test_invalid_json_is_refused(http: httpx.Client) -> None:
    check_shape(http.post("/api/v1/search", content=b'{"collection_id": '), 400, *REFUSED)


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_wrong_tokens_are_refused(mesh: Mesh, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    check_shape(httpx.get(mesh.url + "/api/v1/collections", headers=headers), 401, "UNAUTHENTICATED", "UNAUTHENTICATED")


FILES = [
    ("a PDF that is none", "x.pdf", "application/pdf", b"no soy un PDF", "UNREADABLE_DOCUMENT"),
    ("a format we do not read", "x.zip", "application/zip", b"PK", "UNSUPPORTED_CONTENT"),
    ("an unknown ending", "x.xyz", "", b"\x89PNG" + bytes(9), "UNSUPPORTED_CONTENT"),
    ("no bytes", "x.txt", "text/plain", b"", "UNREADABLE_DOCUMENT"),
]


@pytest.mark.parametrize(("name", "content_type", "data", "kind"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_bad_files_are_refused_at_once(http: httpx.Client, name: str, content_type: str, data: bytes, kind: str) -> None:
    headers = {"content-type": content_type} if content_type else {}
    refused = http.post(f"{DOCUMENTS}/{name}:upload", content=data, headers=headers)
    check_shape(refused, 400, "INVALID_ARGUMENT", kind)
    assert http.get(f"{DOCUMENTS}/{name}").status_code == 404


@pytest.mark.parametrize(("name", "data"), [("cortado.pdf", TRUNCATED_PDF), ("binario.txt", bytes(range(32)) * 50)])
def test_a_file_that_turns_out_unreadable_fails_its_own_job_with_a_reason(http: httpx.Client, name: str, data: bytes) -> None:
    accepted = http.post(f"{DOCUMENTS}/{name}:upload", content=data)
    assert accepted.status_code == 200, accepted.text
    job = finished_job(http, accepted.json()["job_id"])
    assert job["state"] == "FAILED"
    assert job["error"]["type"] == "UNREADABLE_DOCUMENT"
    assert len(job["error"]["details"]["message"]) > 20
    document = http.get(f"{DOCUMENTS}/{name}").json()["document"]
    assert (document["state"], document["version"]) == ("FAILED", 0)
    found = http.post("/api/v1/search", json={"collection_id": "malos", "query": "módem luces", "k": 50}).json()
    assert name not in {result["document_id"] for result in found["results"]}


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    too_large = http.post("/api/v1/search", content=b'{"query": "' + b"a" * 5_000_000 + b'"}')
    check_shape(too_large, 413, "INVALID_ARGUMENT", "BODY_BYTES_EXCEEDED")


def test_an_upload_cut_half_way_leaves_nothing(mesh: Mesh, http: httpx.Client) -> None:
    edge = urlsplit(mesh.url)
    with socket.create_connection((edge.hostname, edge.port)) as raw:
        raw.sendall(
            f"POST {DOCUMENTS}/medio.txt:upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {mesh.token}\r\n"
            f"content-type: text/plain\r\ncontent-length: 3000000\r\n\r\n".encode()
            + b"hola " * 200_000
        )
    ingestion_log = mesh.data_dir / "logs" / "ingestion.log"

    def cancelled() -> bool:
        lines = [line for line in ingestion_log.read_text().splitlines() if "UploadDocument" in line]
        return bool(lines) and '"code": "CANCELLED"' in lines[-1]

    eventually(cancelled, within_s=10, what="the server notices the cut upload")
    assert http.get(f"{DOCUMENTS}/medio.txt").status_code == 404
    listed = http.get(DOCUMENTS, params={"page_size": 1000}).json()["documents"]
    assert "medio.txt" not in {document["document_id"] for document in listed}


async def test_a_deadline_too_short_is_deadline_exceeded(mesh: Mesh) -> None:
    async with open_channel(mesh.url.removeprefix("http://")) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        request = query_pb2.SearchRequest(collection_id="malos", query="algo nuevo que nadie preguntó", min_seq=10**9)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Search(request, metadata=[("authorization", f"Bearer {mesh.token}")], timeout=0.5)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_grpc_callers_get_real_status_codes(mesh: Mesh) -> None:
    async with open_channel(mesh.url.removeprefix("http://")) as channel:
        stub = ingestion_pb2_grpc.IngestionServiceStub(channel)
        request = ingestion_pb2.GetCollectionRequest(collection_id="ninguna")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetCollection(request, metadata=[("authorization", f"Bearer {mesh.token}")])
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as stranger:
            await stub.GetCollection(request)
        assert stranger.value.code() is grpc.StatusCode.UNAUTHENTICATED
