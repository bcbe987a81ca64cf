"""`malla doctor`, `malla call`, `malla logs` and `malla restart` on a whole mesh, as who looks for a fault uses them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from services.cli.launcher.rotate import LogBounds, LogRotation
from services.cli.launcher.state import read_state
from tests.e2e.mesh import Mesh, create_collection, eventually, ingest_text


def doctor(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    return json.loads(mesh.malla("doctor", "--json", *arguments, check=False).stdout)


def test_the_doctor_finds_a_whole_mesh_well_and_leaves_nothing(mesh: Mesh) -> None:
    found = doctor(mesh)
    checks = {finding["check"] for finding in found["findings"]}
    failures = [finding for finding in found["findings"] if finding["outcome"] == "failed"]
    assert failures == []
    assert found["success"]
    expected = (
        "settings disk ports token outbox processes proxy clock database embedding models indexes key provider conversation"
    )
    assert set(expected.split()) <= checks
    with mesh.http() as http:
        assert "malla doctor" not in {agent["name"] for agent in http.get("/api/v1/agents").json()["agents"]}
        sessions = [one["session_id"] for one in http.get("/api/v1/conversations").json()["conversations"]]
    assert not [one for one in sessions if one.startswith("malla-doctor-")]


def test_the_doctor_says_a_line_each_with_what_to_do(mesh: Mesh) -> None:
    said = mesh.malla("doctor", "--no-spend").stdout.splitlines()
    [key] = [line for line in said if "key " in line]
    assert key.startswith("warning")
    assert "GROQ_API_KEY" in key
    assert not [line for line in said if "conversation" in line]


def test_any_method_is_called_by_its_name(mesh: Mesh) -> None:
    with mesh.http() as http:
        create_collection(http, "llamada", language="es")
        ingest_text(http, "llamada", "El perro duerme en el patio.", document_id="perro")
    asked = json.dumps({"collection_id": "llamada", "query": "¿Dónde duerme el perro?"})
    assert json.loads(mesh.malla("call", "Search", asked).stdout)["results"][0]["document_id"] == "perro"
    events = [json.loads(line) for line in mesh.malla("call", "QueryService/StreamQuery", asked).stdout.splitlines()]
    assert "retrieval" in events[0]
    assert "done" in events[-1]
    checked = mesh.malla("call", "CheckIndexes", '{"collection_id": "llamada"}', "--mesh", "--json")
    assert json.loads(checked.stdout)["data"]["checks"][0]["state"] == "OK"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Search", '{"collection_id": "nadie", "query": "x"}'), "no collection 'nadie'"),
        (("Search", "{"), "no JSON"),
        (("Search", '{"banana": 1}'), "collection_id, query"),
        (("CheckIndexes",), "--mesh"),
        (("Banana",), "--list"),
    ],
)
def test_a_call_that_fails_says_why_in_one_line(mesh: Mesh, arguments: tuple[str, ...], words: str) -> None:
    done = mesh.malla("call", *arguments, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_request_is_found_in_the_logs_of_the_proxy_and_of_the_servers(mesh: Mesh) -> None:
    request_id = f"debugging-{time.time_ns()}"
    with mesh.http() as http:
        headers = {"x-request-id": request_id}
        refused = http.post("/api/v1/groq/chat", json={"id_agente": 1, "mensaje": "", "session_id": "s"}, headers=headers)
        assert refused.status_code == 400

    def lines() -> list[dict[str, Any]]:
        return json.loads(mesh.malla("logs", "--request-id", request_id, "--json").stdout)["lines"]

    eventually(lambda: "access" in {line["process"] for line in lines()}, within_s=20, what="the proxy writes its log")
    assert [line["status"] for line in lines() if line["process"] == "access"] == [400]
    assert request_id in mesh.malla("logs", "access", "--since", "1h", "--level", "warning").stdout
    assert mesh.malla("logs", "banana", check=False).returncode == 1


async def test_the_proxys_log_is_put_aside_and_it_writes_a_new_one(mesh: Mesh) -> None:
    state = read_state(mesh.data_dir)
    assert state is not None
    access = state.logs / "access.log"

    def call(request_id: str) -> None:
        with mesh.http() as http:
            assert http.get("/api/v1/agents", headers={"x-request-id": request_id}).status_code == 200
        eventually(lambda: request_id in access.read_text(), within_s=20, what="the call is logged")

    call("before-rotation")
    rotation = LogRotation(mesh.data_dir / "keys", [access], LogBounds(1, 2), lambda: [state.admin_address])
    await rotation.look()
    assert "before-rotation" in access.with_name("access.log.1").read_text()
    call("after-rotation")
    assert "before-rotation" not in access.read_text()
    assert "before-rotation" in mesh.malla("logs", "access", "--request-id", "before-rotation").stdout


def test_an_unknown_process_is_not_restarted(mesh: Mesh) -> None:
    done = mesh.malla("restart", "banana", check=False)
    assert done.returncode == 1
    assert "embedding" in done.stderr
