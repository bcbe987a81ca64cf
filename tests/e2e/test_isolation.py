"""One tenant tries every public method on everything another tenant has, through the real edge, as JSON and as gRPC.

Generated from the contract (tests/fakes/isolation.py): a new method is tried too, or the test says what it needs to know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
from websockets.sync.client import connect

from tests.e2e.mesh import Mesh, create_collection, finished_job, ingest_text, sse
from tests.fakes.isolation import (
    MAKES_ITS_OWN,
    NEVER,
    Answer,
    Rpc,
    as_if,
    attempts,
    fields_of,
    names_resource,
    over_grpc,
    over_http,
    public_rpcs,
)

RPCS = public_rpcs()
CANARY = "canario"
_DENIED = {"404", "NOT_FOUND"}


@dataclass
class Owned:
    """What tenant A has: identifiers by the field that names them."""

    http: httpx.Client
    ids: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in NEVER})

    def everything(self) -> dict[str, Any]:
        """Reads all of it."""
        paths = [
            "/api/v1/collections",
            "/api/v1/agents",
            "/api/v1/conversations",
            "/api/v1/conversations?handed_off=true",
            *(f"/api/v1/collections/{name}" for name in self.ids["collection_id"]),
            *(f"/api/v1/collections/{name}/documents" for name in self.ids["collection_id"]),
            *(f"/api/v1/jobs/{name}" for name in self.ids["job_id"]),
            *(f"/api/v1/conversations/{name}" for name in self.ids["session_id"]),
        ]
        return {path: self._read(path) for path in paths}

    def _read(self, path: str) -> Any:
        response = self.http.get(path)
        assert response.status_code == 200, (path, response.text)
        body = response.json()
        body.pop("metadata")
        return body


def fill(owned: Owned) -> None:
    """Gives tenant A one of every resource."""
    http, ids = owned.http, owned.ids
    collection = f"{CANARY}-manual"
    create_collection(http, collection, description=f"{CANARY} de A")
    job = ingest_text(http, collection, f"La clave {CANARY} es azul.", document_id=f"{CANARY}-doc")
    ids["collection_id"], ids["document_id"], ids["job_id"] = [collection], [f"{CANARY}-doc"], [job["job_id"]]
    agent = http.post("/api/v1/agents", json={"name": f"{CANARY} de A", "collections": [collection]})
    ids["id_agente"] = [agent.json()["agent"]["id_agente"]]
    for session in (f"{CANARY}-uno", f"{CANARY}-humano"):
        said = {"id_agente": ids["id_agente"][0], "session_id": session, "mensaje": f"¿De qué color es la clave {CANARY}?"}
        answered = http.post("/api/v1/groq/chat", json=said)
        assert answered.status_code == 200, answered.text
        ids["session_id"].append(session)
    handed = http.post(f"/api/v1/conversations/{CANARY}-humano:handoff", json={"reason": CANARY})
    assert handed.status_code == 200, handed.text


@pytest.fixture(scope="module")
def owned(mesh: Mesh) -> Iterator[Owned]:
    with mesh.http(mesh.token_for("isolated-a")) as http:
        one = Owned(http)
        fill(one)
        yield one


@dataclass
class Intruder:
    """Tenant B, by both ways in."""

    http: httpx.Client
    channel: grpc.Channel
    token: str = field(repr=False)

    def tries(self, rpc: Rpc, resources: dict[str, Any]) -> Iterator[tuple[str, Answer]]:
        fields = fields_of(rpc, resources)
        for binding in rpc.bindings:
            yield f"{binding.verb} {binding.path}", over_http(self.http, rpc, binding, fields)
        yield rpc.path, over_grpc(self.channel, rpc, fields, {"authorization": f"Bearer {self.token}"})


@pytest.fixture(scope="module")
def intruder(mesh: Mesh) -> Iterator[Intruder]:
    with intruding(mesh, "isolated-b") as one:
        yield one


@pytest.fixture(scope="module")
def maker(mesh: Mesh) -> Iterator[Intruder]:
    """Another one, for calls that make something."""
    with intruding(mesh, "isolated-c") as one:
        yield one


@contextmanager
def intruding(mesh: Mesh, tenant: str) -> Iterator[Intruder]:
    token = mesh.token_for(tenant)
    with mesh.http(token) as http, grpc.insecure_channel(mesh.url.removeprefix("http://")) as channel:
        yield Intruder(http, channel, token)


@pytest.fixture(scope="module", autouse=True)
def unchanged(owned: Owned) -> Iterator[None]:
    """Whatever was tried in this file, A has what it had."""
    before = owned.everything()
    yield
    assert owned.everything() == before


def test_the_set_up_has_one_of_every_resource(owned: Owned) -> None:
    missing = [name for name in NEVER if not owned.ids.get(name)]
    assert not missing, f"give tenant A resources of these kinds in `fill`: {missing}"


@pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if names_resource(rpc)], ids=str)
def test_what_another_tenant_has_is_as_if_it_never_was(rpc: Rpc, owned: Owned, intruder: Intruder) -> None:
    never = dict(intruder.tries(rpc, NEVER))
    for resources in attempts(rpc, owned.ids):
        for way, answer in intruder.tries(rpc, resources):
            assert answer == as_if(never[way], NEVER, resources), f"{way} on {resources}"
            assert answer.code in _DENIED or _is_empty_list(rpc, answer), f"{way}: {answer}"


def _is_empty_list(rpc: Rpc, answer: Answer) -> bool:
    """Whether a list narrowed down to another's resource holds nothing."""
    repeated = [one.name for one in rpc.method.output_type.fields if one.is_repeated and one.name != "metadata"]
    if not rpc.name.startswith("List") or answer.code not in {"200", "OK"}:
        return False
    return bool(repeated) and not any(json.loads(answer.said).get(name) for name in repeated)


@pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if not rpc.resources], ids=str)
def test_what_names_nothing_shows_nothing_of_another_tenant(rpc: Rpc, owned: Owned, maker: Intruder) -> None:
    secrets = {CANARY, *(str(one) for name, ids in owned.ids.items() if name != "id_agente" for one in ids)}
    for way, answer in maker.tries(rpc, NEVER):
        assert not [secret for secret in secrets if secret in answer.said], way
        assert answer.code not in {"500", "INTERNAL", "UNKNOWN"}, (way, answer)


@pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if rpc.name in MAKES_ITS_OWN], ids=str)
def test_a_name_another_tenant_uses_is_free(rpc: Rpc, owned: Owned, mesh: Mesh) -> None:
    (resources, *_) = attempts(rpc, owned.ids)
    fields = fields_of(rpc, resources)
    for number, binding in enumerate(rpc.bindings):
        with mesh.http(mesh.token_for(f"isolated-d{number}")) as http:
            assert over_http(http, rpc, binding, fields).code == "200"
    token = mesh.token_for("isolated-d-grpc")
    with grpc.insecure_channel(mesh.url.removeprefix("http://")) as channel:
        assert over_grpc(channel, rpc, fields, {"authorization": f"Bearer {token}"}).code == "OK"


def test_a_page_token_of_another_tenant_opens_nothing(owned: Owned, intruder: Intruder) -> None:
    for path in ("collections", "agents", "conversations"):
        first = owned.http.get(f"/api/v1/{path}?page_size=1").json()
        taken = intruder.http.get(f"/api/v1/{path}", params={"page_token": first["next_page_token"]})
        assert CANARY not in taken.text
        assert intruder.http.get(f"/api/v1/{path}").json()[path] == []


def test_a_socket_on_anothers_conversation_is_as_if_it_never_was(owned: Owned, intruder: Intruder, mesh: Mesh) -> None:
    def told(session_id: str, id_agente: int) -> dict[str, Any]:
        url = mesh.url.replace("http", "ws") + f"/api/v1/groq/chat/stream/{session_id}/{id_agente}"
        headers = {"authorization": f"Bearer {intruder.token}", "x-request-id": "isolation-socket"}
        with connect(url, additional_headers=headers, proxy=None) as socket:
            socket.send(json.dumps({"mensaje": "hola"}))
            return dict(json.loads(socket.recv(timeout=20)))

    (session, *_), (agent, *_) = owned.ids["session_id"], owned.ids["id_agente"]
    never = json.dumps(told(NEVER["session_id"], NEVER["id_agente"]))
    answer = told(session, agent)
    assert answer["error"]["code"] == "NOT_FOUND"
    assert answer == json.loads(never.replace(str(NEVER["id_agente"]), str(agent)).replace(NEVER["session_id"], session))


def test_a_tenant_that_is_only_claimed_is_not_believed(owned: Owned, intruder: Intruder, mesh: Mesh) -> None:
    path = f"/api/v1/collections/{owned.ids['collection_id'][0]}"
    claims = {"x-tenant-id": "isolated-a", "x-forwarded-tenant": "isolated-a", "grpc-metadata-x-tenant-id": "isolated-a"}
    assert intruder.http.get(path, headers=claims).status_code == 404
    rpc = next(rpc for rpc in RPCS if rpc.name == "GetCollection")
    fields = {"collection_id": owned.ids["collection_id"][0]}
    for claim in ({"x-tenant-id": "isolated-a"}, {"x-tenant-id-bin": b"isolated-a"}):
        sent = {"authorization": f"Bearer {intruder.token}", **claim}
        assert over_grpc(intruder.channel, rpc, fields, sent).code == "NOT_FOUND"


def _same_things(http: httpx.Client, color: str) -> dict[str, Any]:
    """Makes what another tenant makes too, under the same names, about its own color."""
    create_collection(http, "same")
    texts = {"document_id": "same", "request_id": "same-document"}
    ingest_text(http, "same", f"La puerta de la casa es de color {color}.", **texts)
    agent = {"name": color, "collections": ["same"], "instructions": f"Di {color}."}
    made = http.post("/api/v1/agents?request_id=same-agent", json=agent).json()["agent"]
    said = {
        "id_agente": made["id_agente"],
        "session_id": "same",
        "mensaje": "¿De qué color es la puerta?",
        "request_id": "same",
    }
    body = {"collection_id": "same", "query": "¿De qué color es la puerta?"}
    return {
        "answer": http.post("/api/v1/groq/chat", json=said).json(),
        "again": http.post("/api/v1/groq/chat", json=said).json(),
        "search": http.post("/api/v1/search", json=body).json(),
        "query": http.post("/api/v1/query", json={**body, "request_id": "same-query"}).json(),
        "stream": sse(http, "/api/v1/query/stream", {**body, "request_id": "same-stream"}),
        "conversation": http.get("/api/v1/conversations/same").json(),
        "documents": http.get("/api/v1/collections/same/documents").json(),
        "agent": http.get(f"/api/v1/agents/{made['id_agente']}").json(),
    }


def test_the_same_names_of_two_tenants_do_not_mix(mesh: Mesh) -> None:
    colors = {"isolated-azul": "azul", "isolated-verde": "verde"}
    seen = {}
    for tenant, color in colors.items():
        with mesh.http(mesh.token_for(tenant)) as http:
            seen[color] = _same_things(http, color)
    for mine, other in (("azul", "verde"), ("verde", "azul")):
        told = seen[mine]
        for name in ("answer", "search", "query", "stream", "conversation", "agent"):
            text = json.dumps(told[name], ensure_ascii=False)
            assert mine in text, name
            assert other not in text, name
        assert told["answer"]["metadata"].get("duplicate") is not True
        assert told["again"]["answer"] == told["answer"]["answer"]
        assert len(told["conversation"]["conversation"]["turns"]) == 2
        # The question was another tenant's before: what that tenant's vector cost is not this one's to see.
    first, second = (seen[color]["answer"]["usage"] for color in colors.values())
    assert first["cached_tokens"] == second["cached_tokens"]
    assert seen["azul"]["documents"]["documents"][0]["document_id"] == seen["verde"]["documents"]["documents"][0]["document_id"]


def test_one_tenants_deletion_leaves_the_others_of_the_same_name(mesh: Mesh) -> None:
    with mesh.http(mesh.token_for("isolated-uno")) as one, mesh.http(mesh.token_for("isolated-dos")) as two:
        for http in (one, two):
            create_collection(http, "shared")
            ingest_text(http, "shared", "La llave está en el cajón.", document_id="doc")
        accepted = two.post("/api/v1/collections/shared/documents", json={"text": "Otra cosa.", "document_id": "otro"}).json()
        assert one.delete("/api/v1/collections/shared").status_code == 200
        assert finished_job(two, accepted["job_id"])["state"] == "SUCCEEDED"
        found = two.post("/api/v1/search", json={"collection_id": "shared", "query": "llave"}).json()["results"]
        assert {result["document_id"] for result in found} == {"doc", "otro"}
        assert one.get("/api/v1/collections/shared").status_code == 404
