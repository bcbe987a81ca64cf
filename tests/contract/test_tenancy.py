"""No code path to another tenant's rows: by reading the sources, as the other structure tests do."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

import common
import services
from common.settings import REPOSITORY, Settings
from tests.contract.test_structure import imports_of

SOURCES = sorted(path for root in ("common", "services") for path in (REPOSITORY / root).rglob("*.py"))
STORE = "common/store/"

OF_ALL_TENANTS = {
    "common/tracking/_ledger.py": "rows of several tenants are written in one command; each row names its own",
    "services/query/adapters/first_answers.py": "answers past their time are deleted, whoever's they are",
    "services/ingestion/adapters/jobs.py": "workers lease the oldest job, and the sweep removes old ones, whoever's they are",
    "services/ingestion/adapters/collections.py": "deletions that a crash interrupted are finished, whoever's they are",
    "services/ingestion/adapters/contents.py": "uploads that a crash interrupted are removed, whoever's they are",
    "services/ingestion/bootstrap.py": "a gauge counts the jobs that wait; it tells numbers, of no one in particular",
}
"""Who may read rows of every tenant, and why. What is read so is used under the tenant its row names."""


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def calls_of(path: Path, method: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
            yield node


def test_only_the_listed_read_rows_of_all_tenants() -> None:
    users = {name_of(path) for path in SOURCES if not name_of(path).startswith(STORE) and any(calls_of(path, "all_tenants"))}
    unlisted = users - OF_ALL_TENANTS.keys()
    assert not unlisted, f"{unlisted} read rows of every tenant. Use Store.rows(tenant, …), or say in OF_ALL_TENANTS why not."
    assert not OF_ALL_TENANTS.keys() - users, "no longer needed in OF_ALL_TENANTS"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_rows_are_those_of_a_tenant(path: Path) -> None:
    for call in calls_of(path, "rows"):
        of_store = "store" in ast.unparse(call.func).lower()
        assert not of_store or "tenant" in ast.unparse(call.args[0]), f"line {call.lineno}: {ast.unparse(call)}"


@pytest.mark.parametrize("path", [p for p in SOURCES if not name_of(p).startswith(STORE)], ids=name_of)
def test_the_database_is_reached_through_the_store_only(path: Path) -> None:
    """A driver's client knows no tenant."""
    assert not [name for name in imports_of(path) if name.split(".")[0] in {"pymongo", "motor", "gridfs"}]


def settings_classes() -> set[type[Settings]]:
    for package in (common, services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("settings") or "_audit" in module.name or "issuer" in module.name:
                importlib.import_module(module.name)
    found: set[type[Settings]] = set()
    waiting = [Settings]
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        waiting += kind.__subclasses__()
    return found


_SECRET_WORDS = {"key", "password", "secret", "token", "uri"}
_NO_SECRET = {"mesh_key_file", "tls_key", "revoked_tokens", "llm_first_token_timeout_s"}


def test_every_secret_setting_is_a_secret_str() -> None:
    kinds = settings_classes()
    assert len(kinds) > 5
    plain = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in kind.model_fields.items()
        if _SECRET_WORDS & set(name.split("_"))
        and name not in _NO_SECRET
        and field.annotation not in (SecretStr, SecretStr | None)
    ]
    assert not plain, f"make these SecretStr, so that they print as asterisks and are scrubbed from logs and errors: {plain}"
