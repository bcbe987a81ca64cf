"""Bulk ingest that goes on where it stopped, and `malla jobs`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.mesh import MALLA, Mesh, clean_env, create_collection, eventually

FILES = 24


def test_a_folder_goes_on_where_it_stopped_and_its_jobs_are_shown(mesh: Mesh, tmp_path: Path) -> None:
    for i in range(FILES):
        (tmp_path / f"nota-{i:02}.md").write_text(f"# Nota {i}\n\nEl folio {i} espera.")
    arguments = [MALLA, "ingest", str(tmp_path), "--collection", "resumed", "--jobs", "2", "--data-dir", str(mesh.data_dir)]
    with mesh.http() as http:
        create_collection(http, "resumed", language="es")

        def jobs() -> list[dict[str, str]]:
            return http.get("/api/v1/jobs", params={"collection_id": "resumed", "page_size": 1000}).json()["jobs"]

        first = subprocess.Popen(arguments, env=clean_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: len(jobs()) >= 3, within_s=60, what="three files are sent")
        finally:
            first.kill()
            first.wait()
        sent = {job["document_id"] for job in jobs()}
        assert len(sent) < FILES, "too quick to be interrupted"

        done = json.loads(mesh.malla("ingest", str(tmp_path), "--collection", "resumed", "--json").stdout)
        unchanged = {row["document_id"] for row in done["files"] if row["outcome"] == "unchanged"}
        assert done["success"]
        assert sent <= unchanged
        assert len(jobs()) == FILES  # none twice
        assert {job["state"] for job in jobs()} == {"SUCCEEDED"}
        assert {job["version"] for job in jobs()} == {1}

        (tmp_path / "nota-00.md").write_text("# Nota 0\n\nEl folio cambió.")
        done = json.loads(mesh.malla("ingest", str(tmp_path), "--collection", "resumed", "--json").stdout)
        assert [row["document_id"] for row in done["files"] if row["outcome"] == "ingested"] == ["nota-00.md"]
        newest = jobs()[0]
        assert (newest["document_id"], newest["version"]) == ("nota-00.md", 2)

    listed = json.loads(mesh.malla("jobs", "list", "-c", "resumed", "-s", "succeeded", "-n", "1", "--json").stdout)
    assert [job["job_id"] for job in listed["jobs"]] == [newest["job_id"]]
    assert newest["job_id"] in mesh.malla("jobs", "list", "-c", "resumed").stdout
    assert "SUCCEEDED" in mesh.malla("jobs", "watch", newest["job_id"]).stdout
    for verb, words in (("cancel", "has ended"), ("retry", "has succeeded")):
        refused = mesh.malla("jobs", verb, newest["job_id"], check=False)
        assert (refused.returncode, words in refused.stderr) == (1, True)
    assert "no state" in mesh.malla("jobs", "list", "-s", "lost", check=False).stderr
