"""A supervisor that was brought back: what lives goes on as it is, and is kept running like what it starts itself."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from services.cli.launcher.adoption import adoptable
from services.cli.launcher.backoff import Backoff
from services.cli.launcher.checks import Check, CheckKind
from services.cli.launcher.hang import Patience
from services.cli.launcher.lifeline import held, lifeline_path
from services.cli.launcher.managed import ManagedProcess
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.plan import Plan
from services.cli.launcher.ports import choose_ports
from services.cli.launcher.procfs import Process
from services.cli.launcher.spec import ProcessSpec, Variant
from services.cli.launcher.state import LifeState, MeshPhase, MeshState, ProcessPhase, ProcessState, read_state
from services.cli.launcher.supervisor import Supervisor
from services.cli.settings import CliSettings
from tests.fakes.launched import ANSWER, Launched
from tests.fakes.waiting import until

STARTED_AT = 1_700_000_000.5
ALONE = ANSWER.replace("SO_REUSEPORT", "SO_REUSEADDR")


class World:
    """One process of a mesh whose supervisor has died.

    Attributes:
        drained: The turn of each life that was drained, and whether another served in its place.
    """

    def __init__(self, folder):
        self.port = choose_ports({"one": 1}, {})["one"][0]
        self.lifeline = lifeline_path(folder)
        self.log = folder / "one.log"
        self.check = Check(kind=CheckKind.TCP, port=self.port)
        self.drained = []
        self.kept = []
        self.launched = []

    async def left_behind(self, code=ANSWER):
        """Returns a program whose supervisor has died."""
        one = Launched(code, self.port, self.lifeline)
        self.launched.append(one)
        await until(lambda: b"exec_child" not in cmdline(one.process))
        await self.check.wait()
        return one.orphan()

    def row(self, process, **fields):
        fields = {
            "phase": ProcessPhase.READY,
            "restarts": 3,
            "last_exit": "killed by SIGSEGV",
            "started_at": STARTED_AT,
        } | fields
        return ProcessState(name="one", process=process, port=self.port, check=self.check, log=self.log, **fields)

    def keep(self, previous, code=ANSWER, **options):
        async def drain(turn, replaced):
            self.drained.append((turn, replaced))

        spec = ProcessSpec(
            name="one",
            command=(sys.executable, "-S", "-c", code, str(self.port)),
            log=self.log,
            check=self.check,
            variants=tuple(Variant(before_stop=lambda replaced, turn=turn: drain(turn, replaced)) for turn in range(2)),
            is_shareable=True,
            lifeline=self.lifeline,
        )
        process = ManagedProcess(spec, backoff=Backoff(first_s=0.01, most_s=0.05), previous=previous, **options)
        self.kept.append(process)
        process.start()
        return process


def cmdline(process):
    return Path(f"/proc/{process.pid}/cmdline").read_bytes()


def counts(process):
    return process.state.restarts, process.state.last_exit


@pytest.fixture
async def world(tmp_path):
    with held(tmp_path):
        world = World(tmp_path)
        yield world
        await asyncio.gather(*(process.stop() for process in world.kept))
        assert all(process.state.process is None for process in world.kept)
    for one in world.launched:
        one.orphan()
        await until(lambda one=one: not one.process.is_alive)


async def test_what_lives_goes_on_as_it_is_whatever_it_needs(world):
    living = await world.left_behind()
    process = world.keep(world.row(living, turn=1), needs=[asyncio.Event()])
    assert process.ready.is_set()  # at once: it has been drained before it is stopped, whenever that is
    written = process.state.model_copy(deep=True)
    await until(process._serving.is_set)
    assert process.state == written == world.row(living, turn=1)
    await process.stop()
    assert world.drained == [(1, False)]
    assert not living.is_alive


async def test_one_that_was_still_starting_is_ready_when_its_check_says_so(world):
    process = world.keep(world.row(await world.left_behind(), phase=ProcessPhase.STARTING))
    assert not process.ready.is_set()
    await process.ready.wait()
    assert process.state.phase is ProcessPhase.READY


async def test_one_that_dies_is_started_again_and_its_own_children_end_with_it(world, tmp_path):
    pid_file = tmp_path / "pid"
    fork = f"import os, time\nif (pid := os.fork()) == 0: time.sleep(600)\nopen({str(pid_file)!r}, 'w').write(str(pid))\n"
    living = await world.left_behind(fork + ANSWER)
    child = Process.of(int(pid_file.read_text()))
    process = world.keep(world.row(living))
    os.kill(living.pid, signal.SIGKILL)
    await until(lambda: process.state.restarts == 4 and process.state.phase is ProcessPhase.READY)
    assert process.state.process != living
    assert process.state.last_exit == "ended"
    assert process.state.started_at > STARTED_AT
    await until(lambda: not child.is_alive)


async def test_one_that_hangs_is_killed_and_started_again(world):
    deaf = "import socket, sys, time; listener = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    living = await world.left_behind(deaf)
    world.check = Check(kind=CheckKind.HTTP, port=world.port, path="/")
    process = world.keep(world.row(living), patience=Patience(for_s=0.3, answer_s=0.3, pause_s=0.05))
    await until(lambda: process.state.restarts == 4)
    assert not living.is_alive
    assert process.state.last_exit == "ended: it hung (does not answer for 0.3 s)"


async def test_one_that_died_meanwhile_is_started_and_counted(world):
    dead = Process(pid=(await world.left_behind()).pid, ticks=1)  # another process has its pid
    process = world.keep(world.row(dead, turn=1), ALONE.replace("ADDR", "PORT"))
    await until(lambda: process.state.phase is ProcessPhase.READY)
    assert counts(process) == (4, "died while no supervisor watched")
    assert (process.state.turn, process.state.process != dead) == (1, True)


async def test_one_that_was_to_be_started_again_is_counted_once(world):
    process = world.keep(world.row(None, phase=ProcessPhase.RESTARTING))
    await until(lambda: process.state.phase is ProcessPhase.READY)
    assert counts(process) == (4, "killed by SIGSEGV")


async def test_one_that_had_never_been_started_is_not_counted(world):
    process = world.keep(world.row(None, phase=ProcessPhase.WAITING, restarts=0, last_exit="", started_at=0.0))
    await until(lambda: process.state.phase is ProcessPhase.READY)
    assert counts(process) == (0, "")


async def test_a_life_that_was_to_retire_is_drained_and_ended(world):
    living, retiring = await world.left_behind(), await world.left_behind()
    process = world.keep(world.row(living, turn=1, beside=[LifeState(process=retiring, turn=0)]))
    await until(lambda: not process.state.beside)
    assert world.drained == [(0, True)]
    assert not retiring.is_alive
    assert process.state.process == living
    assert living.is_alive


async def test_it_is_restarted_on_request_like_any_other(world):
    living = await world.left_behind()
    process = world.keep(world.row(living))
    seen = []
    process._on_change = lambda: seen.append((process.state.process, [life.process for life in process.state.beside]))
    await (await process.restart())
    assert not living.is_alive
    assert world.drained == [(0, True)]
    assert (process.state.turn, counts(process)) == (1, (4, "restarted on request"))
    new = process.state.process
    assert [state for state, _ in itertools.groupby(seen)] == [(living, [new]), (new, [living]), (new, [])]


# ---- the mesh


@pytest.fixture
def plan(tmp_path):
    return Plan.make(LaunchOptions(tmp_path, port=0), CliSettings(mongodb_uri=""), None)


def left_by(plan, **fields):
    folder = plan.layout.data_dir
    fields = {"phase": MeshPhase.READY, "mongodb_uri": plan.shown_mongodb_uri, "ports": plan.ports} | fields
    return MeshState(data_dir=folder, logs=folder, **fields)


@pytest.mark.parametrize(
    ("options", "uri", "phase", "is_adopted"),
    [
        ({}, "", MeshPhase.READY, True),
        ({"port": None}, "", MeshPhase.STARTING, True),
        ({}, "", MeshPhase.STOPPED, False),
        ({"replicas": {"query": 2}}, "", MeshPhase.READY, False),
        ({}, "mongodb://db.example:27017", MeshPhase.READY, False),
    ],
    ids=["the same", "still starting", "stopped", "other replicas", "another record"],
)
def test_a_mesh_is_taken_over_only_as_it_would_be_started(plan, options, uri, phase, is_adopted):
    options = LaunchOptions(plan.layout.data_dir, **({"port": 0} | options))
    left = left_by(plan, phase=phase)
    assert adoptable(options, CliSettings(mongodb_uri=uri), left) == (left if is_adopted else None)


def test_a_record_elsewhere_is_told_from_another_without_its_password(tmp_path):
    options, uri = LaunchOptions(tmp_path, port=0), "mongodb://{}db.example:27017"
    left = left_by(Plan.make(options, CliSettings(mongodb_uri=uri.format("ana:hunter2@")), None))
    assert adoptable(options, CliSettings(mongodb_uri=uri.format("ana:changed@")), left) == left
    assert adoptable(options, CliSettings(mongodb_uri="mongodb://other.example:27017"), left) is None


async def test_the_ports_of_what_runs_are_kept_though_they_are_taken(plan, tmp_path):
    servers = [await asyncio.start_server(lambda *_: None, "127.0.0.1", of[0]) for of in plan.ports.values()]
    again = Plan.make(LaunchOptions(tmp_path, port=0), CliSettings(mongodb_uri=""), left_by(plan), goes_on=True)
    assert again.ports == plan.ports
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_a_mesh_that_was_being_stopped_is_stopped(plan, tmp_path, world):
    living = await world.left_behind()
    spec = ProcessSpec(name="one", command=("true",), log=world.log, check=world.check)

    class Small(Plan):
        def specs(self):
            return [spec]

    small = Small(plan.layout, plan.settings, plan.ports, plan.keys)
    left = left_by(plan, phase=MeshPhase.STOPPING, processes=[world.row(living)])
    supervisor = Supervisor(LaunchOptions(tmp_path, guarded=False), small, previous=left, guardian_pid=os.getpid())
    async with asyncio.timeout(20):
        await supervisor.run(lambda _state: pytest.fail("it was to stop"))
    assert not living.is_alive
    state = read_state(tmp_path)
    assert (state.phase, state.process("supervisor").restarts) == (MeshPhase.STOPPED, 0)
    assert state.process("one").started_at < time.time()
