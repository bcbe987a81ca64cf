"""The documentation agrees with the code and with itself. tests/e2e/test_docs.py runs its commands."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from itertools import zip_longest
from pathlib import Path

import pytest

from common.settings import REPOSITORY
from tests.e2e.docs import blocks_of

PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("samples/*.md"))
)
READMES = ("README.md", "README.es.md")
GENERATOR = REPOSITORY / "docs" / "generate.py"

# CONTRACT names of the Groq backend that `.env.example` explains.
GROQ = {"GROQ_API_KEY", "GROQ_BASE_URL", "GROQ_MODEL", "GROQ_TIMEOUT", "GROQ_MAX_TOKENS", "GROQ_TEMPERATURE"}

# Read by OpenTelemetry's SDK itself, which is given the lines of `.env`.
STANDARD = {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_METRIC_EXPORT_INTERVAL"}

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_EXAMPLE = re.compile(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", text_of(page)))
    return {re.sub(r"[^\w\- ]", "", unicodedata.normalize("NFC", one).lower()).replace(" ", "-") for one in headings}


def links() -> list[tuple[str, str]]:
    return [(page, target) for page in PAGES for target in _LINK.findall(_FENCED.sub("", text_of(page)))]


@pytest.mark.parametrize(("page", "target"), [(page, target) for page, target in links() if "://" not in target])
def test_a_link_leads_somewhere(page: str, target: str) -> None:
    name, _, anchor = target.partition("#")
    found = (REPOSITORY / page).parent / name if name else REPOSITORY / page
    assert found.exists(), f"{page} links to {target}"
    if anchor:
        assert anchor in anchors(str(found.resolve().relative_to(REPOSITORY))), f"{page} links to {target}"


def test_both_readmes_have_the_same_commands() -> None:
    english, spanish = blocks_of("README.md"), blocks_of("README.es.md")
    for ours, theirs in zip_longest(english, spanish):
        assert ours and theirs, f"only one has {ours or theirs}"
        assert ours.commands == theirs.commands, f"{ours} and {theirs} differ"
        assert bool(ours.reason) == bool(theirs.reason), f"one of {ours} and {theirs} is not run"
    assert english


def test_both_readmes_have_the_same_sections() -> None:
    shapes = [[line.split()[0] for line in text_of(page).splitlines() if re.match(r"#+ ", line)] for page in READMES]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("page", PAGES)
def test_nobody_is_told_to_install_what_a_stranger_may_have_published(page: str) -> None:
    """Malla is in no registry: there its name is another's."""
    assert not re.search(r"pip install[^`\n]*\bmalla\b", text_of(page))


@pytest.mark.parametrize("page", PAGES)
def test_fences_of_commands_are_read_whole(page: str) -> None:
    fences = re.findall(r"^ *```(bash|sh|shell|console|python)$", text_of(page), re.MULTILINE)
    assert len(fences) == len(blocks_of(page)), "a fence that the tests do not see"


def test_the_page_of_settings_is_fresh() -> None:
    checked = subprocess.run([sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_generator_notices_a_difference(tmp_path: Path) -> None:
    (tmp_path / "generate.py").write_text(GENERATOR.read_text(encoding="utf-8"), encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, "-P", str(tmp_path / "generate.py"), "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    assert "make generate" in checked.stderr


def test_every_name_in_the_example_is_a_setting() -> None:
    known = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", text_of("docs/configuration.md"))) | STANDARD
    named = [name for name, _ in _EXAMPLE.findall(text_of(".env.example"))]
    assert not [name for name in named if name not in known]
    assert not [name for name in named if named.count(name) > 1], "said twice"
    assert set(named) >= GROQ


def test_every_name_in_the_example_is_explained() -> None:
    lines = text_of(".env.example").splitlines()
    for number, line in enumerate(lines):
        if _EXAMPLE.match(line):
            # A comment above it, or above the settings it stands with.
            above = next(one for one in reversed(lines[:number]) if not _EXAMPLE.match(one))
            assert above.startswith("# "), f".env.example, line {number + 1}: {line}"


def test_no_secret_in_the_example_has_a_value() -> None:
    values = {name: value for name, value in _EXAMPLE.findall(text_of(".env.example")) if re.search("KEY$|TOKEN$", name)}
    assert values
    # A key that is a file is named by its path.
    assert not [name for name, value in values.items() if value and not value.startswith("/")]
