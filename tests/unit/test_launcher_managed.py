"""Supervision of small real processes: restart after a kill, back-off, stop order, nothing left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.launcher.backoff import Backoff
from services.cli.launcher.checks import Check, CheckKind
from services.cli.launcher.managed import ManagedProcess
from services.cli.launcher.ports import choose_ports
from services.cli.launcher.procfs import Process
from services.cli.launcher.spec import ProcessSpec
from services.cli.launcher.state import ProcessPhase

LISTEN = (
    "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); "
    "print('up', flush=True); time.sleep(600)"
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LISTEN
PATIENCE_S = 20


@pytest.fixture
async def launch(tmp_path):
    started = []

    def start(name="one", code=LISTEN, command=None, **options):
        port = choose_ports({name: 1}, {})[name][0]
        fields = {key: options.pop(key) for key in ("grace_s", "stale", "before_stop", "env") if key in options}
        spec = ProcessSpec(
            name=name,
            command=command or (sys.executable, "-S", "-c", code, str(port)),
            log=tmp_path / f"{name}.log",
            check=Check(kind=CheckKind.TCP, port=port),
            **fields,
        )
        process = ManagedProcess(spec, backoff=Backoff(first_s=0.01, most_s=0.05), **options)
        started.append(process)
        process.start()
        return process

    yield start
    await asyncio.gather(*(process.stop() for process in started))
    assert all(process.state.process is None for process in started)


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # another process has no event for us
            await asyncio.sleep(0.01)


async def ready(process):
    await until(lambda: process.state.phase is ProcessPhase.READY)
    return process.state.process


async def test_a_killed_process_is_back_on_its_port(launch):
    process = launch()
    first = await ready(process)
    port = process.state.port
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: process.state.restarts == 1)
    second = await ready(process)
    assert second != first
    assert process.state.port == port
    assert process.state.last_exit == "killed by SIGKILL"
    assert await process.spec.check.failure() == ""


async def test_its_output_goes_to_its_log(launch):
    process = launch()
    await ready(process)
    os.kill(process.state.process.pid, signal.SIGKILL)
    await until(lambda: process.state.restarts == 1)
    await ready(process)
    assert process.spec.log.read_text() == "up\nup\n"


async def test_sigterm_ends_it_and_it_stays_ended(launch):
    process = launch()
    child = await ready(process)
    await process.stop()
    assert not child.is_alive
    assert (process.state.phase, process.state.last_exit) == (ProcessPhase.STOPPED, "killed by SIGTERM")


async def test_one_that_ignores_sigterm_is_killed_after_its_grace(launch):
    process = launch(code=STUBBORN, grace_s=0.2)
    child = await ready(process)
    await process.stop()
    assert not child.is_alive
    assert process.state.last_exit == "killed by SIGKILL"


async def test_what_it_had_started_ends_with_it(launch, tmp_path):
    pid_file = tmp_path / "pid"
    start = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)']); "
    process = launch(code=f"{start} open({str(pid_file)!r}, 'w').write(str(p.pid)); {LISTEN}")
    await ready(process)
    orphan = Process.of(int(pid_file.read_text()))
    assert orphan is not None
    os.kill(process.state.process.pid, signal.SIGKILL)
    await until(lambda: not orphan.is_alive)


async def test_it_is_drained_before_sigterm(launch):
    seen = []

    async def drain():
        seen.append(process.state.process.is_alive)

    process = launch(before_stop=drain)
    await ready(process)
    await process.stop()
    assert seen == [True]


async def test_a_drain_ends_when_the_process_dies(launch):
    async def forever():
        os.kill(process.state.process.pid, signal.SIGKILL)
        await asyncio.Event().wait()

    process = launch(before_stop=forever)
    await ready(process)
    async with asyncio.timeout(PATIENCE_S):
        await process.stop()


async def test_it_waits_for_what_it_needs(launch):
    needed = asyncio.Event()
    process = launch(needs=[needed])
    await asyncio.sleep(0)
    assert process.state.phase is ProcessPhase.WAITING
    needed.set()
    await ready(process)


async def test_one_that_never_serves_is_hopeless(launch):
    process = launch(code="import sys; sys.exit(7)")
    async with asyncio.timeout(PATIENCE_S):
        await process.hopeless.wait()
    assert process.state.last_exit == "exited with status 7"
    assert not process.ready.is_set()


async def test_one_that_served_once_is_never_hopeless(launch):
    process = launch()
    for _ in range(4):
        child = await ready(process)
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda child=child: process.state.process != child)
    assert not process.hopeless.is_set()


async def test_a_program_that_is_not_there(launch, tmp_path):
    # The wrapper is what starts, so this is an exit, not an exception.
    process = launch(command=(str(tmp_path / "no"),))
    async with asyncio.timeout(PATIENCE_S):
        await process.hopeless.wait()
    assert "status 1" in process.state.last_exit


async def test_leftovers_are_removed_before_each_start(launch, tmp_path):
    left = tmp_path / "stale.pid"
    left.write_text("1")
    process = launch(stale=(left,))
    await ready(process)
    assert not left.exists()


async def test_stopping_one_that_waits_to_be_started_again(launch):
    process = launch(code="import sys; sys.exit(1)")
    await until(lambda: process.state.restarts >= 1)
    async with asyncio.timeout(PATIENCE_S):
        await process.stop()
    assert process.state.phase is ProcessPhase.STOPPED


async def test_children_die_with_a_killed_supervisor(tmp_path):
    """The supervisor here is a real process, as its death is what counts."""
    parent = (
        "import sys, signal; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "from services.cli.launcher.spawn import spawn; "
        "child = spawn([sys.executable, '-S', '-c', 'import time; time.sleep(600)'], Path(sys.argv[2])); "
        "print(child.pid, flush=True); signal.pause()"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(  # noqa: ASYNC220  # starting it takes no time
        [sys.executable, "-c", parent, str(root), str(tmp_path / "log")], stdout=subprocess.PIPE
    ) as supervisor:
        pid = int(supervisor.stdout.readline())
        # Until the wrapper has become the program, its name is Python's with the wrapper's path.
        await until(lambda: b"exec_child" not in Path(f"/proc/{pid}/cmdline").read_bytes())
        child = Process.of(pid)
        supervisor.kill()
    assert child is not None
    await until(lambda: not child.is_alive)


def test_back_off_doubles_to_its_most_and_begins_anew_after_a_steady_life():
    backoff = Backoff()
    waits = [backoff.after(up_s=0.0) for _ in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.after(up_s=30.0) == 0.1
    assert backoff.after(up_s=1.0) == 0.2
