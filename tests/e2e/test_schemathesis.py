"""No request that /openapi.json allows, and none it forbids, is answered with a 5xx or with what it does not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.mesh import Mesh
from tests.e2e.schemathesis_run import run_schemathesis


@pytest.mark.timeout(300)  # under load; about ten seconds on a machine of its own
def test_every_operation_answers_as_documented(mesh: Mesh, tmp_path: Path) -> None:
    report = run_schemathesis(mesh, "schemathesis", tmp_path, "--phases", "examples,fuzzing", "-n", "4", timeout_s=280)
    assert report.status == 0, report.output
    operations = report.facts["operations"]
    assert operations["tested"] == operations["total"] >= 40
    assert report.facts["test_cases"]["generated"] >= 3 * operations["total"]
    assert {
        "POST /api/v1/groq/chat",
        "POST /api/v1/groq/chat/stream",
        "GET /api/v1/groq/models",
        "POST /api/v1/query",
        "POST /api/v1/query/stream",
        "POST /api/v1/search",
        "POST /api/v1/embeddings",
        "POST /api/v1/collections/{collection_id}/documents",
        "GET /api/v1/usage",
    } <= report.answered()
