"""The audit log of a whole mesh: what the edge refused and what the servers did, read by one command."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from malla.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc
from websockets.sync.client import connect

from common.proxy import GATEWAY_PATHS, SECURITY_HEADERS
from tests.e2e.mesh import Mesh, create_collection, eventually
from tests.fakes.isolation import NEVER, Rpc, fields_of, over_http, public_rpcs

WITHIN_S = 15


def audit(mesh: Mesh, *arguments: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads(mesh.malla("audit", "--json", "-n", "500", *arguments).stdout)["lines"]
    return lines


def test_what_the_edge_refused_is_written_down(mesh: Mesh) -> None:
    with httpx.Client(base_url=mesh.url) as stranger, mesh.http() as http:
        stranger.get("/api/v1/jobs/none", headers={"x-request-id": "audit-401"})
        http.post("/api/v1/search", content=b"x" * 5_000_000, headers={"x-request-id": "audit-413"})
        http.post("/internal/search", json={}, headers={"x-request-id": "audit-404"})
        http.get("/api/v1/nothing", headers={"x-request-id": "audit-no"})
        http.get("/api/v1/collections", headers={"x-request-id": "audit-read"})
    with grpc.insecure_channel(mesh.url.removeprefix("http://")) as channel:
        stub = ingestion_pb2_grpc.IngestionServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.ListCollections(ingestion_pb2.ListCollectionsRequest(), metadata=(("x-request-id", "audit-16"),))

    # The proxy writes a little later.
    file = mesh.data_dir / "logs" / "audit" / "edge.jsonl"
    eventually(lambda: file.read_text().count('"audit-') >= 4, within_s=WITHIN_S, what="the edge's lines")
    lines = {line["request_id"]: line for line in audit(mesh) if str(line["request_id"]).startswith("audit-")}
    assert set(lines) == {"audit-401", "audit-413", "audit-404", "audit-16"}
    assert {line["where"] for line in lines.values()} == {"edge"}
    assert lines["audit-401"]["what"] == "GET /api/v1/jobs/none"
    assert (lines["audit-401"]["code"], lines["audit-413"]["code"], lines["audit-16"]["grpc_status"]) == (401, 413, "16")
    assert lines["audit-401"]["client"] == "127.0.0.1"
    assert lines["audit-401"]["token"] == "Jwt is missing"
    assert lines["audit-413"]["tenant"]


def test_what_a_server_did_is_written_down_with_who_asked(mesh: Mesh) -> None:
    with mesh.http(mesh.token_for("audited")) as http:
        create_collection(http, "audited-one")
        http.delete("/api/v1/collections/audited-one")
    lines = audit(mesh, "--tenant", "audited")
    assert [line["what"].rpartition("/")[2] for line in lines] == ["CreateCollection", "DeleteCollection"]
    for line in lines:
        assert line["resources"] == {"collection_id": "audited-one"}
        assert (line["subject"], line["code"]) == ("audited", "OK")
        assert ipaddress.ip_address(line["client"])  # a client on the proxy's own machine has the machine's address
        assert line["request_id"]
    shown = mesh.malla("audit", "--tenant", "audited", "-n", "1").stdout
    assert "audited/audited" in shown
    assert "DeleteCollection  collection_id=audited-one  OK  [" in shown
    assert shown.count("\n") == 1


RPCS = public_rpcs()
EVERYWHERE = {one.name: one.value for one in SECURITY_HEADERS if one.action != "ADD_IF_ABSENT"}
ANYHOW = {one.name for one in SECURITY_HEADERS if one.action == "ADD_IF_ABSENT"}
NOBODYS_BUSINESS = ("server", "x-powered-by", "x-envoy-", "grpc-")


def assert_secure(headers: Any, where: str) -> None:
    for name, value in EVERYWHERE.items():
        assert headers.get(name) == value, f"{where}: {name}"
    for name in ANYHOW:
        assert headers.get(name), f"{where}: {name}"
    assert not [name for name in headers if name.lower().startswith(NOBODYS_BUSINESS)], where


@pytest.fixture(scope="module")
def callers(mesh: Mesh) -> Iterator[dict[str, httpx.Client]]:
    with mesh.http(mesh.token_for("headers")) as http, httpx.Client(base_url=mesh.url, timeout=30) as stranger:
        yield {"a caller": http, "a stranger": stranger}


@pytest.mark.parametrize("rpc", RPCS, ids=str)
def test_security_headers_are_on_every_route(rpc: Rpc, callers: dict[str, httpx.Client]) -> None:
    for binding in rpc.bindings:
        for who, client in callers.items():
            answer = over_http(client, rpc, binding, fields_of(rpc, NEVER))
            assert_secure(dict(answer.head), f"{binding.verb} {binding.path} for {who}: {answer.code}")
            assert (answer.code == "401") is (who == "a stranger")


@pytest.mark.parametrize(
    "path", [*(path for path in GATEWAY_PATHS), "/static/none.js", "/healthz", "/readyz", "/none", "/internal/embed", "/a%2Fb"]
)
def test_security_headers_are_on_every_page(path: str, mesh: Mesh) -> None:
    assert_secure(httpx.get(mesh.url + path).headers, path)


def test_security_headers_are_on_streams_and_sockets(mesh: Mesh, callers: dict[str, httpx.Client]) -> None:
    http = callers["a caller"]
    create_collection(http, "empty")
    with http.stream("POST", "/api/v1/query/stream", json={"collection_id": "empty", "query": "¿Qué?"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert_secure(stream.headers, "SSE")
        stream.read()
    agent = http.post("/api/v1/agents", json={"name": "Ana"}).json()["agent"]["id_agente"]
    headers = {"authorization": http.headers["authorization"]}
    url = mesh.url.replace("http", "ws") + f"/api/v1/groq/chat/stream/s/{agent}"
    with connect(url, additional_headers=headers, proxy=None) as socket:
        assert socket.response is not None
        assert socket.response.status_code == 101
        assert_secure(socket.response.headers, "WebSocket")
