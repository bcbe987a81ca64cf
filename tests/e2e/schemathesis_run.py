"""Runs schemathesis, as a user would, on what the edge says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.settings import REPOSITORY
from services.gateway.openapi.example_values import FIELDS
from tests.e2e.mesh import Mesh, clean_env, create_collection, ingest_text, sse

PROGRAM = Path(sys.executable).with_name("schemathesis")
CONFIG = REPOSITORY / "tests" / "e2e" / "schemathesis.toml"


@dataclass(frozen=True)
class Report:
    """What came of a run."""

    status: int
    output: str
    facts: dict[str, Any]

    def answered(self) -> set[str]:
        """Names the operations that served at least one of the requests made up."""
        rates = self.facts["valid_rates"]
        return {name for name, phases in rates.items() if any(phase["accepted"] for phase in phases.values())}


def fill(http: httpx.Client) -> None:
    """Gives the tenant what the examples name, so that they are answered and not only refused."""
    collection = FIELDS["collection_id"]
    create_collection(http, collection)
    ingest_text(http, collection, FIELDS["text"], document_id=FIELDS["document_id"])
    agent = {"id_agente": FIELDS["id_agente"], "name": FIELDS["name"], "collections": [collection]}
    assert http.post("/api/v1/agents", json=agent).status_code == 200
    said = {"id_agente": FIELDS["id_agente"], "mensaje": FIELDS["mensaje"], "session_id": FIELDS["session_id"]}
    assert "done" in sse(http, "/api/v1/groq/chat/stream", said)[-1]


def run_schemathesis(mesh: Mesh, tenant: str, folder: Path, *arguments: str, timeout_s: float) -> Report:
    """Tries every operation for a tenant of its own: the calls delete what they find."""
    token = mesh.token_for(tenant)
    with mesh.http(token) as http:
        fill(http)
    report = folder / "report.json"
    command = [PROGRAM, "--config-file", CONFIG, "run", f"{mesh.url}/openapi.json", "--no-color"]
    authorized = ["-H", f"Authorization: Bearer {token}", "--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(
        [*command, *authorized, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=REPOSITORY,
        env={**clean_env(), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder)},
        check=False,
    )
    output = done.stdout + done.stderr
    assert report.exists(), output
    return Report(done.returncode, output, json.loads(report.read_text()))
