"""The mesh goes on while its supervisor dies and comes back: no process ends, no stream is cut, no call fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.peers.upstream import TOKENS
from services.cli.launcher.lifeline import hanging, lifeline_path
from services.cli.launcher.spawn import spawn
from services.cli.launcher.state import ProcessState, read_state
from tests.e2e.mesh import Mesh, create_collection, eventually, ingest_text, is_alive, kill, malla, started
from tests.e2e.streams import TALKS, Crowd
from tests.e2e.test_chat_killed import slow_model
from tests.fakes.llm_upstream import made_key
from tests.fakes.waiting import until

RECOVERY_S = 60
STREAMS = 6
SUPERVISOR = "supervisor"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One mesh for all tests of this file: each leaves it whole."""
    data_dir = tmp_path_factory.mktemp("guarded")
    with slow_model(10) as url, started(data_dir, GROQ_BASE_URL=url, GROQ_API_KEY=made_key()) as mesh:
        with mesh.http() as http:
            create_collection(http, "vida", language="es")
            ingest_text(http, "vida", "El gato duerme en la azotea.", document_id="gato")
            assert http.post("/api/v1/agents", json={"name": "Ana", "collections": ["vida"]}).status_code == 200
        yield mesh
    assert hanging(data_dir) == []


def rows(mesh: Mesh) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in mesh.status()["processes"]}


def known(mesh: Mesh) -> list[ProcessState]:
    state = read_state(mesh.data_dir)
    assert state is not None
    return state.processes


def supervisor_of(mesh: Mesh) -> int:
    """The one that runs; 0 while none does."""
    state = read_state(mesh.data_dir)
    row = state and state.process(SUPERVISOR)
    return row.process.pid if row and row.process and row.process.is_alive else 0


def serves_again(mesh: Mesh, killed: int) -> bool:
    return supervisor_of(mesh) not in {0, killed} and mesh.status()["success"]


def wait_until_back(mesh: Mesh, killed: int) -> None:
    eventually(lambda: serves_again(mesh, killed), within_s=RECOVERY_S, what="the supervisor is back and all is well")


def kill_supervisor(mesh: Mesh) -> None:
    killed = supervisor_of(mesh)
    kill(killed)
    wait_until_back(mesh, killed)


async def test_no_stream_is_cut_and_no_call_fails_while_it_comes_back(guarded: Mesh) -> None:
    before = rows(guarded)
    crowd, calls = Crowd(guarded, f"token{TOKENS - 1} "), Counter[str]()
    async with asyncio.TaskGroup() as tasks:
        for number in range(STREAMS):
            tasks.create_task(crowd.stream(*TALKS[number % len(TALKS)], number))
        tasks.create_task(crowd.call(0, calls))
        await until(lambda: crowd.ends.begun == STREAMS and calls["ok"], 60)
        await asyncio.to_thread(kill_supervisor, guarded)
        crowd.stop.set()
    assert (crowd.ends.broken, crowd.ends.refused) == ([], Counter())
    assert all(crowd.ends.whole[kind] > 0 for kind, _talk in TALKS), crowd.ends
    assert calls.keys() == {"ok"}  # nothing failed, nothing had to be tried again
    after = rows(guarded)
    supervisor = after.pop(SUPERVISOR)
    assert supervisor["pid"] != before[SUPERVISOR]["pid"]
    assert supervisor["restarts"] == before[SUPERVISOR]["restarts"] + 1
    for name, row in after.items():
        assert {**row, "uptime_s": 0} == {**before[name], "uptime_s": 0}


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_it_dies_in_the_middle_of_restarts_and_no_stream_is_cut(guarded: Mesh) -> None:
    crowd, calls = Crowd(guarded, f"token{TOKENS - 1} "), Counter[str]()
    async with asyncio.TaskGroup() as tasks:
        for number in range(2 * STREAMS):
            tasks.create_task(crowd.stream(*TALKS[number % len(TALKS)], number))
        tasks.create_task(crowd.call(0, calls))
        await until(lambda: crowd.ends.begun == 2 * STREAMS, 60)
        for number in range(12):
            restarting = asyncio.create_task(asyncio.to_thread(guarded.malla, "restart", "query", "proxy", check=False))
            await until(lambda: any(row.beside for row in known(guarded)), 60)
            await asyncio.sleep(number * 0.25)  # another moment each time: one that starts, one that retires, the next one
            await asyncio.to_thread(kill_supervisor, guarded)
            await restarting
            await until(lambda: not any(row.beside for row in known(guarded)), 60)
        crowd.stop.set()
    assert crowd.ends.broken == []
    assert calls["failed"] == 0
    assert len(hanging(guarded.data_dir)) == len(guarded.status()["processes"])


def test_a_server_that_dies_with_it_is_started_again(guarded: Mesh) -> None:
    before = rows(guarded)
    kill(before[SUPERVISOR]["pid"])
    kill(before["query"]["pid"])
    wait_until_back(guarded, before[SUPERVISOR]["pid"])
    after = rows(guarded)
    assert [name for name in after if after[name]["pid"] != before[name]["pid"]] == [SUPERVISOR, "query"]
    assert after["query"]["restarts"] == before["query"]["restarts"] + 1


def test_a_server_that_dies_after_it_came_back_is_started_again(guarded: Mesh) -> None:
    kill_supervisor(guarded)
    before = guarded.process("embedding")
    kill(before["pid"])
    eventually(
        lambda: guarded.process("embedding")["restarts"] == before["restarts"] + 1 and guarded.status()["success"],
        within_s=RECOVERY_S,
        what="embedding is back",
    )
    after = guarded.process("embedding")
    assert (after["pid"] != before["pid"], after["last_exit"]) == (True, "ended")


def test_what_it_took_over_is_restarted_on_request(guarded: Mesh) -> None:
    kill_supervisor(guarded)
    before = rows(guarded)
    guarded.malla("restart", "proxy", "database")
    after = rows(guarded)
    replaced = [name for name in after if after[name]["pid"] != before[name]["pid"]]
    assert replaced == ["database", "gateway", "proxy"]
    assert {after[name]["last_exit"] for name in replaced} == {"restarted on request"}
    kill_supervisor(guarded)  # the proxy is in its second turn: with the other admin port
    assert guarded.process("proxy") | {"uptime_s": 0} == after["proxy"] | {"uptime_s": 0}
    assert guarded.malla("doctor", "--no-spend", "--json").returncode == 0


def test_a_process_of_it_that_nobody_knows_is_ended(guarded: Mesh, tmp_path: Path) -> None:
    stranger = spawn(["sleep", "600"], tmp_path / "log", lifeline=lifeline_path(guarded.data_dir))
    bystander = spawn(["sleep", "600"], tmp_path / "log")
    try:
        eventually(lambda: stranger.pid in {one.pid for one in hanging(guarded.data_dir)}, within_s=20, what="it hangs on")
        kill_supervisor(guarded)
        assert stranger.wait(RECOVERY_S) == -signal.SIGTERM
        assert is_alive(bystander.pid)
    finally:
        for process in (stranger, bystander):
            process.kill()
            process.wait()


def test_one_that_was_stopped_by_a_signal_is_told(guarded: Mesh) -> None:
    stopped = supervisor_of(guarded)
    os.kill(stopped, signal.SIGSTOP)
    try:
        eventually(
            lambda: guarded.process(SUPERVISOR)["health"] == f"stopped by a signal: kill -CONT {stopped}",
            within_s=20,
            what="status tells",
        )
        found = json.loads(guarded.malla("doctor", "--no-spend", "--json", check=False).stdout)["findings"]
        assert f"kill -CONT {stopped}" in next(one for one in found if "supervisor" in one["message"])["advice"]
    finally:
        os.kill(stopped, signal.SIGCONT)
    eventually(lambda: guarded.status()["success"], within_s=20, what="it goes on")


def test_nothing_outlives_the_supervisor_and_the_guardian(guarded: Mesh) -> None:
    alive = [row["pid"] for row in guarded.status()["processes"]]
    supervisor, guardian = (guarded.process(name)["pid"] for name in (SUPERVISOR, "guardian"))
    os.kill(guardian, signal.SIGSTOP)  # so that it cannot bring another one in between
    kill(supervisor)
    assert sum(map(is_alive, alive)) >= len(alive) - 1
    kill(guardian)
    eventually(lambda: not any(map(is_alive, alive)), within_s=RECOVERY_S, what="every process ends")
    assert hanging(guarded.data_dir) == []
    malla("up", "--data-dir", str(guarded.data_dir), "--detach")
    with guarded.http() as http:
        found = http.post("/api/v1/search", json={"collection_id": "vida", "query": "¿Dónde duerme el gato?"}).json()
    assert found["results"][0]["document_id"] == "gato"


def test_a_mesh_whose_supervisor_died_is_stopped_and_nothing_is_left(guarded: Mesh) -> None:
    kill(supervisor_of(guarded))
    guarded.malla("down")
    assert hanging(guarded.data_dir) == []
    malla("up", "--data-dir", str(guarded.data_dir), "--detach")  # for who comes next
