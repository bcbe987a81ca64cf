"""Every command of the documentation, run in order against a real mesh."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.docs import PAGES, Block, Result, blocks_of, reader_folder, run_page
from tests.e2e.mesh import malla
from tests.fakes.llm_upstream import Act, made_key, running_upstream

ANSWER = ("La instalación ", "tarda ", "48 horas ", "[1].")
BLOCKS = [block for page in PAGES for block in blocks_of(page)]

# What a block prints, beside ending well: a part of a command of it, and what its output has.
PRINTS = {
    'malla search "how do I return': r"en-equipment",
    "documents/modem.pdf:upload": r'"state": ?"SUCCEEDED"',
    "--mode lexical": r"passage *\n *[\d.]+ +es-facturacion",
    "$U/query/stream": r'data: .*"done"',
    "$U/conversations/user-123:handback": r'"citations"',
    "malla chat --agent 1": r"48 horas",
    "malla usage --by": r"embedding|query",
    "malla token rotate --drop-old": r"acme",
    "malla.query.v1.QueryService/Search": r'"chunk_?[iI]d"',
    "malla.stream_query": r"48 horas",
    "--min-mrr": r"MRR@10|mrr",
}

# Blocks that are not run here, by their first command, and why.
NOT_RUN = {
    "make demo": "each sets up and runs a whole mesh or every test; tests/e2e/test_samples.py runs the demo",
    "make setup": "the tests run where this has been done",
    "docker compose up --build": "needs a container engine",
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 malla up --detach": "needs a collector",
    "malla down": "it stops the mesh; tests/e2e/test_backup.py runs the two lines with tar",
    "mkdir -p -m 700 ~/.malla": "see above",
    "make setup-dev": "the tests run where this has been done",
    "make lint": "each takes minutes; these are the tests themselves",
    "python bench/embed.py": "minutes each, and figures of a busy machine mean little",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def results(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Result]]:
    """What each block printed: all pages, one after the other, on one mesh whose model is a small server of our own."""
    folder = reader_folder(tmp_path_factory.mktemp("reader"))
    async with running_upstream() as upstream:
        upstream.default = Act(words=ANSWER)
        env = {"GROQ_API_KEY": made_key(), "GROQ_BASE_URL": upstream.url}
        try:
            yield await asyncio.to_thread(_run, folder, _free_port(), env)
        finally:
            await asyncio.to_thread(malla, "down", "--data-dir", str(folder / "data"))


def _run(folder: Path, port: int, env: dict[str, str]) -> dict[str, Result]:
    return {name: result for page in PAGES for name, result in run_page(page, folder, port, env).items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(620)
@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.reason], ids=str)
def test_a_block_does_what_it_says(results: dict[str, Result], block: Block) -> None:
    result = results[str(block)]
    assert result.succeeded, result.output
    assert "Traceback" not in result.output
    for command, printed in PRINTS.items():
        if command in block.text:
            assert re.search(printed, result.output), f"{command} printed no {printed}:\n{result.output}"


def test_what_is_expected_is_of_a_command_that_is_there() -> None:
    text = "".join(block.text for block in BLOCKS if not block.reason)
    assert not [command for command in PRINTS if command not in text]


def test_blocks_that_are_not_run_are_the_known_ones() -> None:
    assert {block.commands[0]: block.reason for block in BLOCKS if block.reason} == NOT_RUN
