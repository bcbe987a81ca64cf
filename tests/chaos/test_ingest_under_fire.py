"""Documents go in while processes are killed at random: all that was acknowledged is searchable at the end, once and whole."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.mesh import Mesh, create_collection, eventually, kill, started

KILLED = ("database", "embedding", "ingestion", "query")
# Each says something else: a search shows passages that say the same once.
PARTS = (
    "El expediente {0} habla de la ruta {0}, de su revisión y de quien la firma. ",
    "Una avería en {0} se anota con fecha, hora y técnico antes de cerrar el parte. ",
    "Los pagos pendientes de {0} vencen a fin de mes y llevan recargo después. ",
)
SEARCH_S = 60
KILLS = 4


def text_of(number: int) -> str:
    """Three sections, so that a document has several chunks and half of it would be noticed."""
    word = f"clave{number}x"
    return "".join(f"## Parte {i} de {word}\n\n{part.format(word) * 4}\n\n" for i, part in enumerate(PARTS))


@contextmanager
def under_fire(mesh: Mesh, chance: random.Random) -> Iterator[list[str]]:
    """Kills a random process every second or so while the block runs; yields the names of those killed."""
    over = threading.Event()
    killed: list[str] = []

    def fire() -> None:
        while not over.wait(chance.uniform(0.2, 1.5)):
            process = mesh.process(chance.choice(KILLED))
            if process["pid"] and process["state"] == "ready":
                kill(process["pid"])
                killed.append(process["name"])

    thread = threading.Thread(target=fire, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def acknowledged(mesh: Mesh, number: int) -> str:
    """Sends a document until it is acknowledged, as a client would; returns its identifier."""
    body = {"text": text_of(number), "document_id": f"doc-{number}", "request_id": f"request-{number}"}

    def sent() -> bool:
        with mesh.http() as http:
            return http.post("/api/v1/collections/fuego/documents", json=body).status_code == 200

    eventually(sent, within_s=60, what=f"document {number} is acknowledged")
    return f"doc-{number}"


def check_round(mesh: Mesh, numbers: range) -> None:
    with mesh.http() as http:
        for number in numbers:
            eventually(lambda number=number: is_whole(http, number), within_s=SEARCH_S, what=f"document {number} is whole")


def is_whole(http: httpx.Client, number: int) -> bool:
    document = http.get(f"/api/v1/collections/fuego/documents/doc-{number}").json()["document"]
    body = {"collection_id": "fuego", "query": f"clave{number}x", "mode": "lexical", "k": 20}
    found = [r for r in http.post("/api/v1/search", json=body).json()["results"] if r["document_id"] == f"doc-{number}"]
    chunks = [chunk for result in found for chunk in result["chunk_ids"] or [result["chunk_id"]]]
    return document["state"] == "READY" and len(chunks) == len(set(chunks)) == document["chunks"] >= 3


def rounds(mesh: Mesh, count: int, documents: int) -> None:
    chance = random.Random(int(os.environ.get("CHAOS_SEED", "20261122")))
    with mesh.http() as http:
        create_collection(http, "fuego", language="es")
    for number in range(count):
        numbers = range(number * documents, (number + 1) * documents)
        with under_fire(mesh, chance) as killed, ThreadPoolExecutor(4) as clients:
            accepted = list(clients.map(lambda n: acknowledged(mesh, n), numbers))
            eventually(lambda killed=killed: len(killed) >= KILLS, within_s=60, what=f"{KILLS} kills")
        assert len(accepted) == documents
        check_round(mesh, numbers)
        print(f"round {number + 1}: {documents} documents, killed {len(killed)}: {', '.join(killed)}")
    check_round(mesh, range(count * documents))


@pytest.mark.timeout(400)
def test_a_short_round(tmp_path: Path) -> None:
    with started(tmp_path / "mesh") as mesh:
        rounds(mesh, count=1, documents=20)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_two_hundred_documents_in_ten_rounds(tmp_path: Path) -> None:
    with started(tmp_path / "mesh") as mesh:
        rounds(mesh, count=10, documents=20)
