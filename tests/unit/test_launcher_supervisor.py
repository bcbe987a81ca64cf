"""A supervisor over small real processes: start order, stop order, a start that fails, what is written down."""

from __future__ import annotations

import asyncio
import dataclasses
import stat
import sys

import pytest

from services.cli.launcher.checks import Check, CheckKind
from services.cli.launcher.lifeline import held, lifeline_path
from services.cli.launcher.lock import AlreadyRunningError, mesh_lock
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.plan import Plan
from services.cli.launcher.ports import choose_ports
from services.cli.launcher.procfs import ourselves
from services.cli.launcher.spec import ProcessSpec
from services.cli.launcher.state import MeshPhase, ProcessPhase, read_state, state_path
from services.cli.launcher.supervisor import StartError, Supervisor
from services.cli.settings import CliSettings

# Notes when it began to listen and when it was told to stop.
DUMMY = """
import signal, socket, sys
name, port, journal = sys.argv[1:]
def note(what):
    with open(journal, "a") as file:
        file.write(f"{what} {name}\\n")
def stop(*_):
    note("stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
listener = socket.create_server(("127.0.0.1", int(port)))
note("start")
while True:
    listener.accept()[0].close()
"""


@dataclasses.dataclass(frozen=True)
class SmallPlan(Plan):
    """A mesh of dummies."""

    small: tuple[ProcessSpec, ...] = ()

    def specs(self):
        return list(self.small)


@pytest.fixture
def mesh(tmp_path):
    options = LaunchOptions(tmp_path / "mesh", port=0, guarded=False)
    settings = CliSettings(start_timeout_s=20)
    whole = Plan.make(options, settings, None)

    def make(*rows, code=DUMMY):
        ports = choose_ports({name: 1 for name, _ in rows}, {})
        small = tuple(
            ProcessSpec(
                name=name,
                command=(sys.executable, "-S", "-c", code, name, str(ports[name][0]), str(tmp_path / "journal")),
                log=whole.layout.log(name),
                check=Check(kind=CheckKind.TCP, port=ports[name][0]),
                needs=needs,
                lifeline=lifeline_path(options.data_dir),
            )
            for name, needs in rows
        )
        fields = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
        return Supervisor(options, SmallPlan(**fields, small=small))

    make.journal = lambda: (tmp_path / "journal").read_text().split("\n")[:-1]
    make.home = options.data_dir
    with held(options.data_dir):
        yield make


async def test_start_follows_needs_and_stop_reverses_them(mesh):
    supervisor = mesh(
        ("database", ()), ("ingestion", ("database",)), ("query", ("database",)), ("proxy", ("ingestion", "query"))
    )
    await supervisor.run(lambda _state: supervisor.request_stop())
    journal = mesh.journal()
    assert journal[0] == "start database"
    assert journal[3] == "start proxy"
    assert journal[4] == "stop proxy"
    assert set(journal[5:7]) == {"stop ingestion", "stop query"}
    assert journal[7] == "stop database"


async def test_what_runs_is_written_down_for_its_owner(mesh):
    supervisor = mesh(("one", ()))
    seen = []

    def on_ready(state):
        seen.append(read_state(mesh.home))
        supervisor.request_stop()

    await supervisor.run(on_ready)
    [state] = seen
    assert state.phase is MeshPhase.READY
    assert state.is_running
    assert state.process("supervisor").process == ourselves()
    assert state.process("one").phase is ProcessPhase.READY
    assert state.process("one").process.pid != ourselves().pid
    assert state.token
    assert stat.S_IMODE(state_path(mesh.home).stat().st_mode) == 0o600


async def test_after_a_stop_nothing_runs_and_no_token_is_left(mesh):
    supervisor = mesh(("one", ()), ("two", ("one",)))
    await supervisor.run(lambda _state: supervisor.request_stop())
    state = read_state(mesh.home)
    assert state.phase is MeshPhase.STOPPED
    assert not state.is_running
    assert state.token == ""
    assert all(state.process(name).process is None for name in ("one", "two"))


async def test_a_start_that_fails_names_the_culprit_and_leaves_nothing(mesh):
    supervisor = mesh(
        ("good", ()), ("bad", ("good",)), code=DUMMY.replace("name, port", "if sys.argv[1] == 'bad': sys.exit(9)\nname, port")
    )
    with pytest.raises(StartError, match=r"The bad does not start \(exited with status 9\)") as failure:
        await supervisor.run(lambda _state: pytest.fail("it is not ready"))
    assert failure.value.log_path.name == "bad.log"
    assert mesh.journal() == ["start good", "stop good"]


async def test_a_stop_while_starting(mesh):
    supervisor = mesh(("one", ()), code="import time; time.sleep(600)")
    running = asyncio.create_task(supervisor.run(lambda _state: pytest.fail("it is not ready")))
    await asyncio.sleep(0)
    supervisor.request_stop()
    async with asyncio.timeout(20):
        await running
    assert read_state(mesh.home).phase is MeshPhase.STOPPED


def test_a_state_whose_supervisor_is_another_process_now_is_not_running(mesh, tmp_path):
    supervisor = mesh(("one", ()))
    state = supervisor.state.model_copy(update={"phase": MeshPhase.READY})
    assert state.is_running
    own = state.process("supervisor")
    own.process = own.process.model_copy(update={"ticks": own.process.ticks - 1})
    assert not state.is_running


def test_one_supervisor_a_data_dir(tmp_path):
    with mesh_lock(tmp_path), pytest.raises(AlreadyRunningError), mesh_lock(tmp_path):
        pass
    with mesh_lock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"phase": "dancing"}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path, text):
    state_path(tmp_path).write_text(text)
    assert read_state(tmp_path) is None
