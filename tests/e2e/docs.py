"""Reads the fenced blocks of the documentation and runs them, in order, as a reader would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common.settings import REPOSITORY
from tests.e2e.mesh import clean_env

PAGES = ("README.md", "docs/architecture.md", "docs/debugging.md", "docs/configuration.md", "CONTRIBUTING.md")
"""The pages whose commands are run, in this order; README.es.md has the same ones as README.md."""

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>bash|python)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"^#.*$|\s{2,}#\s.*$", re.MULTILINE)
_MARK = "@@ block "
_PATIENCE_S = 300

# A failed HTTP call is a failed command; the helper says which one it was.
_PREAMBLE = """\
set -eEuo pipefail
trap 'echo "failed: $BASH_COMMAND"' ERR
curl() { command curl -sS --fail-with-body "$@"; }
"""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        reason: Why it is not run; empty where it is.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its lines without comments."""
        return [line for line in (one.rstrip() for one in _COMMENT.sub("", self.text).splitlines()) if line]

    @property
    def script(self) -> str:
        return self.text if self.language == "bash" else f"python - <<'END_OF_PYTHON'\n{self.text}END_OF_PYTHON\n"


@dataclass(frozen=True)
class Result:
    """What running a block printed, both streams, and whether all of it succeeded."""

    succeeded: bool
    output: str


def blocks_of(page: str) -> list[Block]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("text")) + 1, found["language"], found["text"], found["reason"] or "")
        for found in _FENCE.finditer(text)
    ]


def run_page(page: str, folder: Path, port: int, env: dict[str, str]) -> dict[str, Result]:
    """Runs a page's blocks in one shell, in a folder that looks like the repository, with a mesh and a port of their own."""
    blocks = [block for block in blocks_of(page) if not block.reason]
    script = _PREAMBLE + "".join(f"{_mark(number)}{block.script}\n" for number, block in enumerate(blocks))
    script = script.replace("8080", str(port)) + _mark(len(blocks))
    printed = _bash(script, folder, {**_environment(folder, port), **env})
    outputs = re.split(rf"^{_MARK}\d+\n", printed, flags=re.MULTILINE)[1:]
    # What follows a block's mark is the next one's, unless it failed; blocks after that were not reached.
    return {
        str(block): Result(number + 1 < len(outputs), outputs[number] if number < len(outputs) else "not reached")
        for number, block in enumerate(blocks)
    }


def _bash(script: str, folder: Path, env: dict[str, str]) -> str:
    """Returns what a script printed until it ended, or for as long as it may take."""
    with (folder / "printed.txt").open("w+", encoding="utf-8") as printed:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            shell.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            printed.write(f"not done after {_PATIENCE_S} s\n")
        printed.seek(0)
        return printed.read()


def _mark(number: int) -> str:
    # On a line of its own, whatever was printed last.
    return f"printf '\\n{_MARK}{number}\\n'\n"


def _environment(folder: Path, port: int) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**clean_env(), "PATH": path, "MALLA_DATA_DIR": str(folder / "data"), "MALLA_EDGE_PORT": str(port)}


def reader_folder(folder: Path) -> Path:
    """Makes a folder where the paths of the pages lead to the repository's, without its `.env`."""
    for name in ("samples", "generated", "proto", "docs"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder
