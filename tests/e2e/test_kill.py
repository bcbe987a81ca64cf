"""Real kills of a real mesh: whatever dies is restarted, and what was acknowledged is still there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.mesh import Mesh, create_collection, eventually, finished_job, grpcurl, ingest_text, kill, run_grpcurl, started

KILLED = ("database", "embedding", "ingestion", "query", "gateway", "proxy", "supervisor")
RECOVERY_S = 60
"""That it recovers is what counts: a machine may be busy with much else."""


def works(mesh: Mesh, number: int) -> bool:
    """Whether the mesh takes a document and finds one by a question it has not seen."""
    with mesh.http() as http:
        body = {"collection_id": "vida", "query": f"¿Cuál es el número de la suerte? ({number})"}
        found = http.post("/api/v1/search", json=body).json()["results"]
        written = http.post("/api/v1/collections/vida/documents", json={"text": "Sigue vivo.", "document_id": "vivo"})
        return found[0]["document_id"] == "suerte" and written.status_code == 200


def is_restarted(mesh: Mesh, before: dict[str, Any]) -> bool:
    after = mesh.process(before["name"])
    restarted: bool = after["pid"] != before["pid"] and after["restarts"] == before["restarts"] + 1
    return restarted and bool(after["state"] == "ready")


def pids(mesh: Mesh) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in mesh.status()["processes"]}


def check_no_gap(mesh: Mesh, number: int, before: dict[str, Any]) -> None:
    """No call fails from the supervisor's death until another is there."""
    while True:
        assert works(mesh, number)
        if is_restarted(mesh, before):
            return


def kill_while_a_job_runs(mesh: Mesh, name: str, number: int) -> None:
    before, all_before = mesh.process(name), pids(mesh)
    with mesh.http() as http:
        body = {"text": f"Prueba {number}: la palabra es ciruela{number}.", "document_id": f"doc-{number}"}
        job_id = http.post("/api/v1/collections/vida/documents", json=body).json()["job_id"]
        kill(before["pid"])
    if name == "supervisor":
        check_no_gap(mesh, number, before)
        assert pids(mesh) == {**all_before, name: pids(mesh)[name]}
    eventually(lambda: works(mesh, number), within_s=RECOVERY_S, what=f"calls work after {name} died")
    eventually(lambda: is_restarted(mesh, before), within_s=RECOVERY_S, what=f"status shows {name} restarted")
    with mesh.http() as http:
        eventually(lambda: finished_job(http, job_id)["state"] == "SUCCEEDED", within_s=20, what=f"the job survives {name}")
        body = {"collection_id": "vida", "query": f"ciruela{number}", "mode": "lexical"}
        assert http.post("/api/v1/search", json=body).json()["results"][0]["document_id"] == f"doc-{number}"


@pytest.mark.timeout(400)
def test_whatever_is_killed_comes_back_with_all_that_was_acknowledged(fragile_mesh: Mesh) -> None:
    with fragile_mesh.http() as http:
        create_collection(http, "vida", language="es")
        ingest_text(http, "vida", "El número de la suerte es el setenta y siete.", document_id="suerte")
    for number, name in enumerate(KILLED):
        kill_while_a_job_runs(fragile_mesh, name, number)
    with fragile_mesh.http() as http:
        documents = http.get("/api/v1/collections/vida/documents", params={"page_size": 1000}).json()["documents"]
    assert {d["document_id"] for d in documents} == {"suerte", "vivo", *(f"doc-{i}" for i in range(len(KILLED)))}
    assert {d["state"] for d in documents} == {"READY"}


def test_two_meshes_side_by_side_know_nothing_of_each_other(mesh: Mesh, tmp_path: Path) -> None:
    with started(tmp_path / "second") as second, mesh.http() as first_http, second.http() as second_http:
        assert second.url != mesh.url
        create_collection(second_http, "solo-aqui")
        assert first_http.get("/api/v1/collections/solo-aqui").status_code == 404
        assert second_http.get("/api/v1/collections/solo-aqui").status_code == 200
        stranger = httpx.get(mesh.url + "/api/v1/collections", headers={"authorization": f"Bearer {second.token}"})
        assert stranger.status_code == 401


def test_a_stopped_mesh_starts_again_with_its_data(tmp_path: Path) -> None:
    with started(tmp_path / "again") as mesh, mesh.http() as http:
        create_collection(http, "vida")
        ingest_text(http, "vida", "El gato duerme en la azotea.", document_id="gato")
    with started(tmp_path / "again") as mesh, mesh.http() as http:
        found = http.post("/api/v1/search", json={"collection_id": "vida", "query": "¿dónde duerme el gato?"}).json()
        assert found["results"][0]["document_id"] == "gato"


def test_grpcurl_searches_through_the_edge(mesh: Mesh) -> None:
    with mesh.http() as http:
        create_collection(http, "curl")
        ingest_text(http, "curl", "La contraseña del wifi está debajo del módem.", document_id="wifi")
    request = json.dumps({"collection_id": "curl", "query": "contraseña del wifi"})
    said = grpcurl(mesh, request, "malla.query.v1.QueryService/Search")
    assert json.loads(said)["results"][0]["documentId"] == "wifi"


def test_grpcurl_lists_and_describes_at_a_server(mesh: Mesh) -> None:
    address = f"127.0.0.1:{mesh.process('query')['port']}"
    assert "malla.query.v1.QueryService" in run_grpcurl(address, "list")
    assert "rpc StreamQuery" in run_grpcurl(address, "describe", "malla.query.v1.QueryService")
