"""What docs/debugging.md says to keep is enough to go on with: documents, conversations, usage and tokens."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from common.settings import REPOSITORY
from tests.e2e.mesh import create_collection, ingest_text, started


def archive(command: str, home: Path, copy: Path) -> None:
    """Runs one of the page's commands with other places."""
    page = (REPOSITORY / "docs" / "debugging.md").read_text(encoding="utf-8")
    [line] = re.findall(rf"^{re.escape(command)} .*$", page, re.MULTILINE)
    line = line.partition("#")[0].replace("~/.malla", str(home)).replace("malla-backup.tgz", str(copy))
    subprocess.run(["bash", "-ec", line], check=True)


def test_a_restored_mesh_goes_on_where_the_copy_was_made(tmp_path):
    copy, restored = tmp_path / "copy.tgz", tmp_path / "restored"
    with started(tmp_path / "mesh") as mesh:
        token = mesh.token_for("acme")
        with mesh.http(token) as http:
            create_collection(http, "vida", language="es")
            ingest_text(http, "vida", "El gato duerme en la azotea.", document_id="gato")
            before = http.get("/api/v1/usage").json()["totals"]
    archive("tar -C ~/.malla -czf", mesh.data_dir, copy)
    restored.mkdir(mode=0o700)
    archive("tar -C ~/.malla -xzf", restored, copy)
    with started(restored) as mesh, mesh.http(token) as http:
        assert http.get("/api/v1/usage").json()["totals"] == before
        found = http.post("/api/v1/search", json={"collection_id": "vida", "query": "gato"}).json()["results"]
        assert [passage["document_id"] for passage in found] == ["gato"]
