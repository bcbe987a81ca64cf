"""The audit log of a real server: its lines, and what is in none of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.settings import StoreSettings
from common.store import Store
from tests.fakes.calls import metadata, refused
from tests.fakes.ingestion import Bench, ingestion, settings_of


@pytest.fixture
async def bench(
    store: Store, store_settings: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setenv("MALLA_AUDIT_LOG", str(tmp_path))
    async with ingestion(settings_of(store_settings), store) as one:
        yield one


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ingestion.jsonl").read_text().splitlines()]


async def test_changes_and_refusals_are_written_down_and_contents_are_not(bench: Bench, tmp_path: Path) -> None:
    await bench.collection("manual")
    await bench.ingested("Un texto muy privado.", "doc", metadata=pb.DocumentUploadMetadata(title="Título privado"))
    await bench.document()  # a read
    missing = pb.DeleteDocumentRequest(collection_id="manual", document_id="nada")
    await refused(bench.call("DeleteDocument", missing))
    await refused(bench.create("", "doc"))
    reader = metadata("acme", scope="chat", user_id="ana", forwarded_for="6.6.6.6, 10.0.0.9", request_id="r-9")
    await refused(bench.stub.GetDocument(pb.GetDocumentRequest(collection_id="manual", document_id="doc"), metadata=reader))
    await refused(bench.stub.DeleteCollection(pb.DeleteCollectionRequest(collection_id="manual")))

    lines = written(tmp_path)
    told = [(line["what"].rpartition("/")[2], line["code"], line["reason"]) for line in lines]
    assert told == [
        ("CreateCollection", "OK", ""),
        ("CreateDocument", "OK", ""),
        ("DeleteDocument", "NOT_FOUND", "DOCUMENT_NOT_FOUND"),
        ("CreateDocument", "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ("GetDocument", "PERMISSION_DENIED", lines[4]["reason"]),
        ("DeleteCollection", "UNAUTHENTICATED", "UNAUTHENTICATED"),
    ]
    made = lines[1]["resources"]
    assert (made["collection_id"], made["document_id"]) == ("manual", "doc")
    assert made["job_id"].startswith("job-")
    assert lines[2]["resources"] == {"collection_id": "manual", "document_id": "nada"}
    assert {line["tenant"] for line in lines[:5]} == {"acme"}
    who = lines[4]
    assert (who["subject"], who["scopes"], who["client"], who["request_id"]) == ("ana", ["chat"], "10.0.0.9", "r-9")
    assert "rivado" not in (tmp_path / "ingestion.jsonl").read_text()


async def test_an_upload_is_one_line(bench: Bench, tmp_path: Path) -> None:
    await bench.collection("manual")

    async def pieces() -> AsyncIterator[pb.UploadDocumentRequest]:
        yield pb.UploadDocumentRequest(collection_id="manual", filename="privado.txt", file={"data": b"muy "})
        yield pb.UploadDocumentRequest(file={"data": b"privado"})

    await bench.stub.UploadDocument(pieces(), metadata=metadata("acme"), timeout=20)
    lines = written(tmp_path)
    assert [line["what"].rpartition("/")[2] for line in lines] == ["CreateCollection", "UploadDocument"]
    assert lines[1]["resources"]["collection_id"] == "manual"
