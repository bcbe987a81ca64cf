"""The whole Spanish set through a whole mesh: 979 documents ingested, 3,256 questions asked by `malla eval`. Takes minutes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from common.client import MallaClient
from common.models import DocumentUploadMetadata
from tests.e2e.mesh import MALLA, Mesh, clean_env, started
from tests.fakes.spanish import rows, spanish_set

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

_AT_ONCE = 16


async def ingested(mesh: Mesh, passages: Path) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)
    async with MallaClient(mesh.url.removeprefix("http://"), mesh.token) as client:
        await client.create_collection("squad", language="es")

        async def one(row: dict[str, str]) -> None:
            metadata = DocumentUploadMetadata(title=row["title"], content_type="text/plain")
            async with gate:
                taken = await client.ingest_text("squad", row["text"], document_id=row["id"], metadata=metadata)
                await client.wait_for_job(taken.job_id, timeout_s=600)

        await asyncio.gather(*(one(row) for row in rows(passages)))


def test_the_right_passage_comes_first(tmp_path: Path):
    folder = spanish_set()
    with started(tmp_path / "mesh") as mesh:
        asyncio.run(ingested(mesh, folder / "passages.jsonl"))
        scores = asyncio.run(evaluated(mesh, folder / "questions.jsonl"))
    assert scores["HYBRID"]["all"]["questions"] == 3256
    assert scores["HYBRID"]["all"]["mrr"] >= 0.84
    assert scores["DENSE"]["all"]["mrr"] >= 0.75
    assert scores["LEXICAL"]["all"]["mrr"] >= 0.79


async def evaluated(mesh: Mesh, questions: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Runs `malla eval`, which takes longer than the other commands."""
    arguments = ("eval", str(questions), "--collection", "squad", "--data-dir", str(mesh.data_dir), "--json")
    process = await asyncio.create_subprocess_exec(
        MALLA, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=clean_env()
    )
    out, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    told: dict[str, dict[str, dict[str, float]]] = json.loads(out)["scores"]
    return told
