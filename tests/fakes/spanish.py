"""The Spanish retrieval set, which is not part of the project: SQuAD-es v1.1 (Carrino et al. 2019, CC BY 4.0).

Its folder holds `passages.jsonl` (id, title, text) and `questions.jsonl` (question, passage_id, answers). Tests that use it
find it in MALLA_TEST_DATA, or in `shared/data` beside the checkout, and skip where it is not.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from common.settings import REPOSITORY

_NAME = "squad_es"


def spanish_set() -> Path:
    """Returns the set's folder. Skips the test where there is none."""
    root = Path(os.environ.get("MALLA_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    folder = root / _NAME
    if not (folder / "questions.jsonl").is_file():
        pytest.skip(f"{_NAME} is not here: set MALLA_TEST_DATA to the folder that holds it")
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    """Returns a JSONL file's rows."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
