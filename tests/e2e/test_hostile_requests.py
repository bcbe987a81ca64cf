"""What fuzzing found: requests that HTTP allows, and that once were a 5xx or spoiled the connection for the calls of others."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.mesh import Mesh, create_collection

AGENTS = "/api/v1/agents"
LIST_AGENTS = "/malla.chat.v1.AgentService/ListAgents"


@pytest.fixture(scope="module")
def http(mesh: Mesh) -> Iterator[httpx.Client]:
    with mesh.http(mesh.token_for("hostil")) as http:
        create_collection(http, "hostil")
        yield http


def check(response: httpx.Response, status: int, kind: str) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert (body["success"], body["error"]["type"]) == (False, kind)
    assert body["metadata"]["request_id"]


@pytest.mark.parametrize("deadline", [b"-1S", b"abc", b"", b"123456789S", b"1s", b"\xff"])
def test_a_deadline_that_cannot_be_read_is_refused_and_spoils_nothing(http: httpx.Client, deadline: bytes) -> None:
    for _ in range(8):
        refused = http.get(AGENTS, headers={b"grpc-timeout": deadline})
        if deadline == b"\xff":  # no text of ASCII: as if it had not been sent
            assert refused.status_code == 200
        else:
            check(refused, 400, "MALFORMED_REQUEST")
    for _ in range(12):  # over both of the proxy's connections to the server
        assert http.get(AGENTS, headers={"connection": "close"}).status_code == 200


def test_a_grpc_caller_with_such_a_deadline_spoils_nothing_either(http: httpx.Client) -> None:
    headers = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": "-1S"}
    for _ in range(8):
        served = http.post(LIST_AGENTS, content=bytes(5), headers=headers)  # the proxy leaves it out on this route
        assert "grpc-status" not in served.headers
        assert served.content
    for _ in range(12):
        assert http.get(AGENTS, headers={"connection": "close"}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"grpc-encoding", b"gzip"),
        (b"grpc-status", b"abc"),
        (b"grpc-tags-bin", b"!"),
        (b"x-foto-bin", b"!!!"),
        (b"a+b`|~", b"x"),
        (b"x-nombre", "Lucía".encode()),
        (b"x-bytes", b"\xff\xfe"),
        (b"grpc-timeout", b"20S"),
    ],
)
def test_headers_that_grpc_does_not_know_change_nothing(http: httpx.Client, name: bytes, value: bytes) -> None:
    assert http.get(AGENTS, headers={name: value}).status_code == 200


@pytest.mark.parametrize("value", ["!", "a", "ab", "abc", "AA,BB", "A=A", "AA==", "AAA", "aG9sYQ==", "aG9sYQ", "Zm9v", ""])
def test_a_binary_value_of_a_grpc_caller_that_is_no_base64_is_as_if_it_had_not_been_sent(
    http: httpx.Client, value: str
) -> None:
    headers = {"content-type": "application/grpc", "te": "trailers", "x-foto-bin": value, "grpc-trace-bin": value}
    served = http.post(LIST_AGENTS, content=bytes(5), headers=headers)
    assert "grpc-status" not in served.headers
    assert served.content


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/collections/a%ff%fe"),
        ("DELETE", "/api/v1/conversations/%c3%28"),
        ("GET", "/api/v1/collections?page_token=%ff"),
        ("GET", "/api/v1/usage/records?model=%ed%a0%80"),
        ("POST", "/api/v1/collections/hostil/documents/%ff.txt:upload"),
    ],
)
def test_text_that_is_not_utf8_is_refused(http: httpx.Client, method: str, path: str) -> None:
    check(http.request(method, path, content=b"hola" if method == "POST" else None), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/api/v1/search", {"collection_id": "a" * 200_000, "query": "q"}, 404, "COLLECTION_NOT_FOUND"),
        ("/api/v1/query", {"collection_id": "ñ" * 100_000, "query": "q"}, 404, "COLLECTION_NOT_FOUND"),
        ("/api/v1/agents", {"name": "x", "collections": ["a" * 200_000]}, 404, "COLLECTION_NOT_FOUND"),
        ("/api/v1/embeddings", {"texts": [""] * 256}, 400, "INVALID_ARGUMENT"),
    ],
)
def test_a_failure_that_would_quote_too_much_is_still_told(
    http: httpx.Client, path: str, body: dict[str, object], status: int, kind: str
) -> None:
    check(http.post(path, json=body), status, kind)
