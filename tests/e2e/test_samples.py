"""The sample knowledge base: found by its questions, and shown by the demo."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.e2e.mesh import SAMPLES, Mesh, is_alive, malla


def test_95_of_100_questions_find_their_document_among_the_first_five(mesh: Mesh) -> None:
    mesh.malla("ingest", str(SAMPLES / "nopal-fibra"), "--collection", "nopal-fibra", "--language", "es")
    questions = (SAMPLES / "questions.jsonl").read_text().splitlines()
    assert len(questions) == 100
    mesh.malla("eval", str(SAMPLES / "questions.jsonl"), "--collection", "nopal-fibra", "--min-recall", "0.95")


def test_ingesting_again_finds_nothing_to_do(mesh: Mesh) -> None:
    folder = str(SAMPLES / "nopal-fibra" / "en")
    mesh.malla("ingest", folder, "--collection", "again", "--language", "en")
    done = json.loads(mesh.malla("ingest", folder, "--collection", "again", "--json").stdout)
    assert {row["outcome"] for row in done["files"]} == {"unchanged"}


@pytest.mark.timeout(300)
def test_the_demo_answers_in_both_languages_and_leaves_nothing() -> None:
    mark = uuid.uuid4().hex
    shown = json.loads(malla("demo", "--json", env={"DEMO_OF_THIS_TEST": mark}).stdout)
    assert [answer["finish_reason"] for answer in shown["answers"]] == ["stop", "stop"]
    assert all(answer["citations"] for answer in shown["answers"])
    assert processes_with(mark) == []


def processes_with(mark: str) -> list[int]:
    """Every living process that inherited the environment of a command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inherited = mark.encode() in (folder / "environ").read_bytes()
        except OSError:
            continue
        if inherited and is_alive(int(folder.name)):
            found.append(int(folder.name))
    return found
