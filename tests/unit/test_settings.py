"""What a variable that is set to nothing means."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.settings import MeshSettings, Settings
from common.tracking import TrackingSettings
from services.cli.settings import CliSettings
from services.query.settings import QuerySettings

PATHS = [
    (CliSettings, "data_dir"),
    (CliSettings, "audit_log"),
    (QuerySettings, "index_dir"),
    (TrackingSettings, "outbox_dir"),
    (MeshSettings, "revoked_tokens"),
    (MeshSettings, "tls_cert"),
]


@pytest.mark.parametrize(("kind", "name"), PATHS)
def test_a_path_that_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch, kind: type[Settings], name: str):
    monkeypatch.setenv(f"MALLA_{name.upper()}", "")
    assert getattr(kind(_env_file=None), name) == kind.model_fields[name].get_default(call_default_factory=True) != Path()


def test_it_covers_what_a_file_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "env").write_text("MALLA_REVOKED_TOKENS=revoked.yaml\n")
    assert MeshSettings(_env_file=tmp_path / "env").revoked_tokens == Path("revoked.yaml")
    monkeypatch.setenv("MALLA_REVOKED_TOKENS", "")
    assert MeshSettings(_env_file=tmp_path / "env").revoked_tokens is None
