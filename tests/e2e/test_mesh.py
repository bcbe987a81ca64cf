"""Rows D1-D8, D11 and A5 of the contract against the whole mesh: real Envoy, real servers, real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.mesh import SAMPLES, Mesh, create_collection, finished_job, ingest_text, sse

TEXT = "# Plazos\n\nLa instalación tarda 48 horas.\n\n## Bajas\n\nLa baja del servicio tarda diez días."


@pytest.fixture(scope="module")
def http(mesh: Mesh) -> Iterator[httpx.Client]:
    with mesh.http() as client:
        create_collection(client, "plazos", language="es", description="para las pruebas")
        job = ingest_text(client, "plazos", TEXT, metadata={"title": "Plazos", "tags": ["alta"], "metadata": {"year": 2025}})
        assert job["state"] == "SUCCEEDED"
        yield client


def ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["success"] is True
    assert body["message"]
    return body


def test_d1_collections_are_created_listed_read_and_deleted(http: httpx.Client) -> None:
    create_collection(http, "efimera", language="en", description="d")
    assert ok(http.get("/api/v1/collections/efimera"))["collection"]["language"] == "en"
    first = ok(http.get("/api/v1/collections", params={"page_size": 1}))
    assert len(first["collections"]) == 1
    second = ok(http.get("/api/v1/collections", params={"page_size": 50, "page_token": first["next_page_token"]}))
    listed = [c["collection_id"] for c in first["collections"] + second["collections"]]
    assert listed == sorted(listed)
    assert {"efimera", "plazos"} <= set(listed)
    ok(http.delete("/api/v1/collections/efimera"))
    assert http.get("/api/v1/collections/efimera").status_code == 404


def test_d2_a_text_becomes_a_document(http: httpx.Client) -> None:
    body = {"text": "El horario es de nueve a seis.", "document_id": "horario", "metadata": {"title": "Horario"}}
    accepted = ok(http.post("/api/v1/collections/plazos/documents", json=body))
    assert accepted["document"]["document_id"] == "horario"
    assert finished_job(http, accepted["job_id"])["state"] == "SUCCEEDED"
    again = ok(http.post("/api/v1/collections/plazos/documents", json=body))
    assert again["metadata"]["duplicate"] is True
    assert again["job_id"] == accepted["job_id"]


@pytest.mark.parametrize(
    "name",
    [
        "es/planes-y-precios.md",
        "es/glosario.txt",
        "es/modem-y-luces.pdf",
        "es/quejas-y-escalamiento.docx",
        "es/reposicion-de-sim.html",
    ],
)
def test_d3_raw_files_of_five_formats_are_taken(http: httpx.Client, name: str) -> None:
    path = SAMPLES / "nopal-fibra" / name
    accepted = ok(http.post(f"/api/v1/collections/plazos/documents/{path.name}:upload", content=path.read_bytes()))
    job = finished_job(http, accepted["job_id"])
    assert job["state"] == "SUCCEEDED"
    document = ok(http.get(f"/api/v1/collections/plazos/documents/{accepted['document']['document_id']}"))["document"]
    assert (document["state"], document["version"]) == ("READY", 1)
    assert document["chunks"] == job["chunks_total"] > 3
    assert document["bytes"] == path.stat().st_size


def test_d4_documents_are_paged_read_and_deleted(http: httpx.Client) -> None:
    ingest_text(http, "plazos", "Algo que se borra.", document_id="borrable")
    page = ok(http.get("/api/v1/collections/plazos/documents", params={"page_size": 1}))
    assert len(page["documents"]) == 1
    assert page["next_page_token"]
    document = ok(http.get("/api/v1/collections/plazos/documents/borrable"))["document"]
    assert {"state", "chunks", "bytes", "version"} <= set(document)
    gone = ok(http.delete("/api/v1/collections/plazos/documents/borrable"))
    assert http.get("/api/v1/collections/plazos/documents/borrable").status_code == 404
    found = search(http, "algo que se borra", min_seq=gone["seq"])
    assert "borrable" not in {result["document_id"] for result in found["results"]}


def test_d5_a_job_is_read_and_watched(http: httpx.Client) -> None:
    accepted = ok(http.post("/api/v1/collections/plazos/documents", json={"text": "Un texto para el trabajo."}))
    last = finished_job(http, accepted["job_id"])
    job = ok(http.get(f"/api/v1/jobs/{accepted['job_id']}"))["job"]
    assert job == last
    assert job["state"] == "SUCCEEDED"
    assert int(job["seq"]) > 0
    assert job["chunks_done"] == job["chunks_total"] == 1


def search(http: httpx.Client, query: str, **fields: Any) -> dict[str, Any]:
    return ok(http.post("/api/v1/search", json={"collection_id": "plazos", "query": query, **fields}))


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_d6_search_finds_the_passage_in_every_mode(http: httpx.Client, mode: str) -> None:
    found = search(http, "¿cuánto tarda la instalación?", k=3, mode=mode, filter={"tags": "alta"})
    best = found["results"][0]
    assert "48 horas" in best["text"]
    assert {"chunk_id", "document_id", "text", "score", "metadata", "start_offset", "end_offset"} <= set(best)
    assert best["metadata"]["title"] == "Plazos"


def test_d6_a_filter_that_matches_nothing_finds_nothing(http: httpx.Client) -> None:
    assert search(http, "instalación", filter={"year": {"gt": 2025}})["results"] == []
    assert search(http, "instalación", filter={"year": {"gte": 2025}})["results"]


def test_d6_a_search_that_passes_seq_sees_its_own_write(http: httpx.Client) -> None:
    for number in range(5):
        job = ingest_text(http, "plazos", f"La clave de la sala {number} es azul{number}.", document_id=f"sala-{number}")
        found = search(http, f"azul{number}", mode="lexical", min_seq=job["seq"])
        assert found["results"][0]["document_id"] == f"sala-{number}"
        assert int(found["seq"]) >= int(job["seq"])


def test_d7_a_question_is_answered_with_citations(http: httpx.Client) -> None:
    answer = ok(http.post("/api/v1/query", json={"collection_id": "plazos", "query": "¿Cuánto tarda la instalación?"}))
    assert "48 horas" in answer["answer"]
    assert "[1]" in answer["answer"]
    assert answer["citations"][0]["index"] == 1
    assert answer["usage"]["total_tokens"] == sum(stage["total_tokens"] for stage in answer["usage"]["stages"]) > 0
    assert answer["model"] == "extractive"
    assert "GROQ_API_KEY" in answer["metadata"]["notice"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_d7_the_answer_streams_as_sse_and_ndjson(http: httpx.Client, accept: str) -> None:
    events = sse(http, "/api/v1/query/stream", {"collection_id": "plazos", "query": "¿Cuánto tarda la baja?"}, accept=accept)
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    kinds = [next(key for key in event if key != "sequence") for event in events]
    assert kinds[0] == "retrieval"
    assert kinds[-2:] == ["usage", "done"]
    assert set(kinds[1:-2]) == {"delta"}
    done = events[-1]["done"]
    assert done["answer"] == "".join(event["delta"]["text"] for event in events if "delta" in event)
    assert "diez días" in done["answer"]
    assert done["finish_reason"] == "stop"
    cited = {citation["index"] for citation in done["citations"]}
    assert cited and all(f"[{index}]" in done["answer"] for index in cited)


def test_d8_texts_are_embedded(http: httpx.Client) -> None:
    made = ok(http.post("/api/v1/embeddings", json={"texts": ["hola", "adiós"], "kind": "QUERY"}))
    assert made["dimensions"] == 384 == len(made["embeddings"][0]["values"])
    assert len(made["embeddings"]) == 2
    assert made["usage"]["input_tokens"] > 0


def test_d11_open_routes_need_no_token(mesh: Mesh) -> None:
    with httpx.Client(base_url=mesh.url) as anyone:
        assert anyone.get("/healthz").status_code == 200
        assert anyone.get("/readyz").status_code == 200
        assert "text/html" in anyone.get("/docs").headers["content-type"]
        assert "text/html" in anyone.get("/").headers["content-type"]
        assert anyone.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert anyone.get("/api/v1/collections").status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/internal/embed", {"texts": ["hola"], "kind": "QUERY"}),
        ("/internal/search", {"collection_id": "plazos", "query": "instalación"}),
        ("/internal/query", {"collection_id": "plazos", "query": "¿Cuánto tarda la instalación?"}),
        ("/internal/ingest", {"collection_id": "plazos", "text": "Desde dentro."}),
    ],
)
def test_a5_internal_paths_answer_in_the_mesh_and_not_at_the_edge(
    mesh: Mesh, http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    assert http.post(path, json=body).status_code == 404
    inside = httpx.post(f"http://{mesh.mesh_address}{path}", json=body, headers={"x-tenant-id": "default"}, timeout=30)
    envelope = ok(inside)
    assert set(envelope) == {"success", "message", "data", "metadata"}
    assert envelope["data"]
    failed = httpx.post(f"http://{mesh.mesh_address}{path}", json={}, headers={"x-tenant-id": "default"}, timeout=30)
    assert failed.status_code == 400
    assert failed.json()["success"] is False
    assert failed.json()["error"]["type"]


def test_two_tenants_see_nothing_of_each_other(mesh: Mesh, http: httpx.Client) -> None:
    with mesh.http(mesh.token_for("otra")) as other:
        assert ok(other.get("/api/v1/collections"))["collections"] == []
        for method, path in [
            ("GET", "/api/v1/collections/plazos"),
            ("GET", "/api/v1/collections/plazos/documents"),
            ("DELETE", "/api/v1/collections/plazos"),
        ]:
            assert other.request(method, path).status_code == 404
        assert other.post("/api/v1/search", json={"collection_id": "plazos", "query": "instalación"}).status_code == 404
        create_collection(other, "plazos")
        assert ok(other.post("/api/v1/search", json={"collection_id": "plazos", "query": "instalación"}))["results"] == []


def test_a_changed_document_replaces_its_old_version(http: httpx.Client) -> None:
    ingest_text(http, "plazos", "El precio del plan Saguaro es de 399 pesos.", document_id="precio")
    job = ingest_text(http, "plazos", "El precio del plan Saguaro es de 425 pesos.", document_id="precio")
    assert job["version"] == 2
    found = search(http, "precio del plan Saguaro", min_seq=job["seq"], k=20)
    texts = [result["text"] for result in found["results"] if result["document_id"] == "precio"]
    assert texts == ["El precio del plan Saguaro es de 425 pesos."]


def test_the_stream_reaches_the_reader_event_by_event(http: httpx.Client) -> None:
    body = {"collection_id": "plazos", "query": "¿Cuánto tarda la instalación?"}
    with http.stream("POST", "/api/v1/query/stream", json=body) as response:
        chunks = [chunk for chunk in response.iter_raw() if chunk]
    assert len(chunks) > 1
    assert json.loads(chunks[0].decode().removeprefix("data: ").partition("\n\n")[0])["sequence"] == 1
