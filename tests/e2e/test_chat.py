"""The call centre through the whole mesh, with the real groq SDK against a real llama.cpp server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.e2e.mesh import Mesh, create_collection, grpcurl, ingest_text, sse, started
from tests.fakes.llama_cpp import MODEL, missing, running_llama
from tests.fakes.llm_upstream import made_key

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "")

CHAT = "/api/v1/groq/chat"


@pytest.fixture(scope="module")
def chat_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with (
        running_llama() as url,
        started(
            tmp_path_factory.mktemp("chat"), GROQ_API_KEY=made_key(), GROQ_BASE_URL=url, GROQ_MODEL=MODEL, GROQ_MAX_TOKENS="48"
        ) as mesh,
    ):
        yield mesh


@pytest.fixture(scope="module")
def http(chat_mesh: Mesh) -> Iterator[httpx.Client]:
    with chat_mesh.http() as client:
        create_collection(client, "manual", language="es")
        ingest_text(client, "manual", "La instalación de la fibra tarda 48 horas.", document_id="plazos")
        agent = {"name": "Ana", "instructions": "You are Ana, of Nopal Fibra.", "language": "en", "collections": ["manual"]}
        made = client.post("/api/v1/agents", json=agent)
        assert made.json()["agent"]["id_agente"] == 1, made.text
        yield client


def ask(message: str, session: str, **fields: Any) -> dict[str, Any]:
    return {"id_agente": 1, "mensaje": message, "session_id": session, "origin": "web", "temperature": 0, **fields}


def test_b1_a_message_gets_a_whole_answer(http: httpx.Client) -> None:
    body = http.post(CHAT, json=ask("How long does the installation take?", "b1")).json()
    assert body["success"] is True, body
    assert body["answer"]
    assert body["model"]
    assert body["usage"]["output_tokens"] > 0
    assert body["usage"]["estimated"] is False
    assert body["session_id"] == "b1"
    stored = http.get("/api/v1/conversations/b1").json()["conversation"]["turns"]
    assert [turn["role"] for turn in stored] == ["USER", "ASSISTANT"]
    assert stored[1]["message_id"] == body["message_id"]
    assert stored[1]["text"] == body["answer"]
    assert stored[1]["usage"]["total_tokens"] == body["usage"]["total_tokens"]
    assert stored[1]["latency_ms"] > 0


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_b3_the_answer_streams(http: httpx.Client, accept: str) -> None:
    session = f"b3-{accept[-3:]}"
    events = sse(http, CHAT + "/stream", ask("How long does the installation take?", session), accept=accept)
    kinds = [next(key for key in event if key != "sequence") for event in events]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert kinds[0] == "retrieval"
    assert kinds[-2:] == ["usage", "done"]
    assert events[0]["retrieval"]["citations"][0]["document_id"] == "plazos"
    done = events[-1]["done"]
    assert done["answer"] == "".join(event["delta"]["text"] for event in events if "delta" in event)
    assert done["message_id"]


def test_b2_many_turns_on_one_socket(chat_mesh: Mesh, http: httpx.Client) -> None:
    url = f"{chat_mesh.url.replace('http', 'ws')}{CHAT}/stream/b2/1"
    with connect(url, additional_headers={"authorization": f"Bearer {chat_mesh.token}"}) as socket:
        for message in ("Hello, who are you?", "And how long does it take?"):
            socket.send(json.dumps({"mensaje": message, "max_tokens": 16}))
            events = []
            while not events or not {"done", "error"} & set(events[-1]):
                events.append(json.loads(socket.recv(timeout=30)))
            assert "done" in events[-1], events[-1]
    assert http.get("/api/v1/conversations/b2").json()["conversation"]["turn_count"] == 4


def test_the_third_turn_depends_on_the_first(http: httpx.Client) -> None:
    agent = {"name": "Eva", "instructions": "You are a helpful assistant.", "language": "en"}
    number = http.post("/api/v1/agents", json=agent).json()["agent"]["id_agente"]

    def said(message: str, session: str) -> str:
        body = http.post(CHAT, json=ask(message, session, id_agente=number)).json()
        assert body["success"], body
        return str(body["answer"])

    said("The secret word is banana.", "three")
    assert "banana" not in said("What is the capital of France?", "three")
    assert "banana" in said("What is the secret word?", "three")
    assert "banana" not in said("What is the secret word?", "stranger")


def test_b4_b5_b6_the_model_answers_is_listed_and_its_key_accepted(http: httpx.Client) -> None:
    tested = http.get("/api/v1/groq/test").json()
    assert (tested["success"], tested["provider"]) == (True, "groq")
    assert tested["latency_ms"] > 0
    models = http.get("/api/v1/groq/models").json()["models"]
    assert len(models) > 20
    assert {"id", "owned_by", "context_window", "max_output_tokens", "active", "replaced_by"} <= set(models[0])
    for verified in (http.get("/api/v1/groq/verify-api-key"), http.post("/api/v1/groq/verify-api-key", json={})):
        assert verified.json()["valid"] is True
        assert verified.json()["provider"] == "groq"


def test_a_repeated_request_gets_the_first_answer(http: httpx.Client) -> None:
    first = http.post(CHAT, json=ask("Hello", "repeat", request_id="k1")).json()
    again = http.post(CHAT, json=ask("Hello", "repeat", request_id="k1")).json()
    assert (again["answer"], again["message_id"]) == (first["answer"], first["message_id"])
    assert http.get("/api/v1/conversations/repeat").json()["conversation"]["turn_count"] == 2


def test_a_person_takes_over_and_hands_back(http: httpx.Client) -> None:
    events = sse(http, CHAT + "/stream", ask("I want to talk to a person", "human"))
    assert [next(key for key in event if key != "sequence") for event in events] == ["handoff", "done"]
    said = http.post("/api/v1/conversations/human/turns", json={"mensaje": "Hola, soy Eva.", "author": "Eva"})
    assert said.json()["turn"]["role"] == "HUMAN"
    silent = http.post(CHAT, json=ask("Are you there?", "human")).json()
    assert (silent["answer"], silent["finish_reason"]) == ("", "handoff")
    http.post("/api/v1/conversations/human:handback", json={})
    assert http.post(CHAT, json=ask("Hello again", "human")).json()["answer"]


def test_grpcurl_chats_through_the_edge(chat_mesh: Mesh, http: httpx.Client) -> None:
    request = json.dumps(ask("Hello", "grpcurl"))
    said = grpcurl(chat_mesh, request, "malla.chat.v1.ChatService/StreamChat")
    assert '"done"' in said


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (ask("", "bad"), 400, "INVALID_ARGUMENT"),
        (ask("   ", "bad"), 400, "INVALID_ARGUMENT"),
        (ask("x" * 8001, "bad"), 400, "INVALID_ARGUMENT"),
        (ask("hola", "a b"), 400, "INVALID_ARGUMENT"),
        ({**ask("hola", "bad"), "id_agente": 99}, 404, "AGENT_NOT_FOUND"),
        ({**ask("hola", "bad"), "id_agente": "x"}, 400, "INVALID_REQUEST"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, CHAT + "/stream"])
def test_bad_messages_are_refused_and_leave_no_conversation(
    http: httpx.Client, path: str, body: dict[str, Any], status: int, kind: str
) -> None:
    refused = http.post(path, json=body)
    assert (refused.status_code, refused.json()["error"]["type"]) == (status, kind)
    assert http.get("/api/v1/conversations/bad").status_code == 404
