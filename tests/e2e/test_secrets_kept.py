"""A mesh that logs everything, in front of a provider that repeats the key it is sent wherever it can: the key is nowhere.

Keys and passwords are made as the tests run.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.mesh import Mesh, clean_env, create_collection, eventually, ingest_text, started
from tests.fakes.llm_upstream import made_key

QUESTION = "¿De qué color es la clave?"


class Echo(BaseHTTPRequestHandler):
    """Fails in turn in each way a provider can, and says the key each time."""

    protocol_version = "HTTP/1.1"
    statuses = (401, 500, 429, 400, 200, 403)  # one more than calls a round, so that each call meets each
    calls = 0
    keys_seen: set[str]

    def do_GET(self) -> None:
        self._answer(401 if Echo.calls % 2 else 500)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        Echo.calls += 1
        self._answer(self.statuses[Echo.calls % len(self.statuses)])

    def _answer(self, status: int) -> None:
        said = self.headers.get("authorization", "")
        Echo.keys_seen.add(said)
        error = {
            "error": {"message": f"Incorrect API key provided: {said}", "type": said, "code": said.removeprefix("Bearer ")}
        }
        body = json.dumps(error).encode()
        if status == 200:  # in the middle of a stream
            body = b"data: " + body + b"\n\n"
        self.send_response(status, said)
        for name in ("x-echo", "www-authenticate", "x-request-id", "retry-after"):
            self.send_header(name, said)
        self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def echoing() -> Iterator[str]:
    Echo.calls, Echo.keys_seen = 0, set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def said_to(http: httpx.Client) -> str:
    """Calls everything that calls the provider, and returns all that came back."""
    create_collection(http, "manual")
    ingest_text(http, "manual", "La clave es de color azul.", document_id="doc")
    agent = http.post("/api/v1/agents", json={"name": "Ana", "collections": ["manual"]}).json()["agent"]["id_agente"]
    said = []
    for number in range(6):
        chat = {"id_agente": agent, "session_id": f"s-{number}", "mensaje": QUESTION}
        query = {"collection_id": "manual", "query": QUESTION}
        said += [
            http.post("/api/v1/groq/chat", json=chat),
            http.post("/api/v1/groq/chat/stream", json={**chat, "session_id": f"t-{number}"}),
            http.post("/api/v1/query", json=query),
            http.post("/api/v1/query/stream", json=query, headers={"accept": "application/x-ndjson"}),
            http.get("/api/v1/groq/test"),
            http.get("/api/v1/groq/models"),
            http.post("/api/v1/groq/verify-api-key", json={}),
            http.get(f"/api/v1/conversations/s-{number}"),
        ]
    assert {response.status_code for response in said} - {200}, "the provider's failures never showed"
    return "".join(f"{response.headers} {response.text}" for response in said)


def files_of(mesh: Mesh) -> dict[str, str]:
    """Returns what every log of a mesh holds: the servers', the edge's, the audit."""
    logs = [path for path in (mesh.data_dir / "logs").rglob("*") if path.is_file()]
    return {path.name: path.read_text(errors="replace") for path in logs}


def test_the_key_is_in_no_log_and_no_answer(tmp_path: Path) -> None:
    key = made_key()
    with echoing() as url:
        quick = {"MALLA_LLM_RETRIES": "0", "MALLA_LLM_BREAKER_FAILURES": "1000"}
        loud = {"MALLA_LOG_LEVEL": "DEBUG", "MALLA_LOG_LEVEL_LIBRARIES": "DEBUG", "MALLA_AUDIT_READS": "true"}
        with started(tmp_path / "data", GROQ_API_KEY=key, GROQ_BASE_URL=url, **quick, **loud) as mesh:
            with mesh.http() as http:
                answers = said_to(http)
            with httpx.Client(base_url=mesh.url) as stranger:
                refused = stranger.get("/api/v1/collections", headers={"authorization": f"Bearer {mesh.token[:-4]}AAAA"})
                assert refused.status_code == 401
            # The proxy writes its lines a little later.
            eventually(lambda: '"where":"edge"' in files_of(mesh).get("edge.jsonl", ""), within_s=10, what="the refusal's line")
            logs = files_of(mesh)
            mesh_key = (mesh.data_dir / "keys" / "mesh.key").read_text().strip()
        assert f"Bearer {key}" in Echo.keys_seen
    assert '"DEBUG"' in logs["query.log"]
    assert "groq" in logs["query.log"]
    for secret in (key, key[-16:], mesh.token, mesh.token.split(".")[2], mesh_key):
        assert secret not in answers
        assert not [name for name, text in logs.items() if secret in text]
    assert QUESTION not in logs["query.jsonl"]
    assert "azul" not in logs["ingestion.jsonl"]


@pytest.mark.parametrize(
    "address",
    ["mongodb://ana:{}@127.0.0.1:1/?serverSelectionTimeoutMS=100", "mongodb://ana:{}@127.0.0.1:port", "mongodb//ana:{}@host"],
    ids=["nobody there", "no number", "no address"],
)
def test_the_databases_password_is_in_no_log(address: str, tmp_path: Path) -> None:
    password = secrets.token_urlsafe(24)
    env = {
        **clean_env(),
        "MONGODB_URI": address.format(password),
        "MONGODB_TIMEOUT": "0.1",
        "MALLA_LOG_LEVEL": "DEBUG",
        "MALLA_LOG_LEVEL_LIBRARIES": "DEBUG",
        "MALLA_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-P", "-m", "services.ingestion"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "uncaught exception" in ended.stderr
    assert password not in ended.stdout + ended.stderr
