"""A rolling restart of every process under load: no stream that has begun is cut, and whoever tries again is served."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.peers.upstream import TOKENS
from tests.e2e.mesh import MALLA, Mesh, clean_env, create_collection, ingest_text, started
from tests.e2e.streams import TALKS, Crowd, Ends
from tests.e2e.test_chat_killed import slow_model
from tests.fakes.llm_upstream import made_key
from tests.fakes.waiting import until

PROCESSES = {"database", "embedding", "ingestion", "query", "query-2", "gateway", "proxy"}


def prepare(mesh: Mesh) -> None:
    with mesh.http() as http:
        create_collection(http, "vida", language="es")
        ingest_text(http, "vida", "El gato duerme en la azotea.", document_id="gato")
        assert http.post("/api/v1/agents", json={"name": "Ana", "collections": ["vida"]}).status_code == 200


async def malla(*arguments: str) -> str:
    """Runs a command while the clients of this process go on."""
    process = await asyncio.create_subprocess_exec(
        MALLA, *arguments, env=clean_env(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def restart_under_load(mesh: Mesh, streams: int, names: Sequence[str] = ()) -> tuple[Ends, Counter[str]]:
    """Restarts processes while clients stream. Returns how their streams and their calls ended."""
    crowd, calls = Crowd(mesh, f"token{TOKENS - 1} "), Counter[str]()
    async with asyncio.TaskGroup() as tasks:
        for number in range(streams):
            tasks.create_task(crowd.stream(*TALKS[number % len(TALKS)], number))
        for number in range(3):
            tasks.create_task(crowd.call(number, calls))
        await until(lambda: crowd.ends.begun == streams, 60)
        await malla("restart", *names, "--data-dir", str(mesh.data_dir))
        crowd.stop.set()
    return crowd.ends, calls


async def check_rolling_restart(data_dir: Path, streams: int, pause_ms: int, *arguments: str) -> None:
    with slow_model(pause_ms) as url:
        env = {"GROQ_BASE_URL": url, "GROQ_API_KEY": made_key()}
        with started(data_dir, *arguments, **env) as mesh:
            prepare(mesh)
            before = by_name(mesh.status())
            ends, calls = await restart_under_load(mesh, streams)
            status = mesh.status()
    after = by_name(status)
    assert ends.broken == []
    assert all(ends.whole[kind] > 0 for kind, _talk in TALKS), ends
    assert calls["failed"] == 0
    assert calls["ok"] > 0
    assert status["success"], status
    for name in PROCESSES & after.keys():
        assert after[name]["pid"] != before[name]["pid"]
        assert (after[name]["restarts"], after[name]["last_exit"]) == (1, "restarted on request")


def by_name(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {process["name"]: process for process in status["processes"]}


@pytest.mark.timeout(300)
async def test_every_process_is_restarted_under_streams_and_none_is_cut(tmp_path: Path) -> None:
    await check_rolling_restart(tmp_path / "rolling", 12, 25)


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_every_process_is_restarted_under_fifty_streams_and_none_is_cut(tmp_path: Path) -> None:
    await check_rolling_restart(tmp_path / "rolling", 50, 60, "--replicas", "query=2")
