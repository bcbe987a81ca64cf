"""Supervision of small real processes: restart after a kill, back-off, stop order, nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys

import pytest

from services.cli.launcher.backoff import Backoff
from services.cli.launcher.checks import Check, CheckKind
from services.cli.launcher.hang import Patience, until_hung
from services.cli.launcher.lifeline import held, lifeline_path
from services.cli.launcher.managed import ManagedProcess, RestartError
from services.cli.launcher.ports import choose_ports
from services.cli.launcher.procfs import Process
from services.cli.launcher.spec import ProcessSpec, Variant
from services.cli.launcher.state import ProcessPhase
from tests.fakes.launched import ANSWER

LISTEN = (
    "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); "
    "print('up', flush=True); time.sleep(600)"
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LISTEN
PATIENCE_S = 20


@pytest.fixture
def lifeline(tmp_path):
    with held(tmp_path):
        yield lifeline_path(tmp_path)


@pytest.fixture
async def launch(tmp_path, lifeline):
    started = []

    def start(name="one", code=LISTEN, command=None, **options):
        port = choose_ports({name: 1}, {})[name][0]
        fields = {key: options.pop(key) for key in ("grace_s", "stale", "env", "is_shareable") if key in options}
        fields["variants"] = (Variant(before_stop=options.pop("before_stop", None)),)
        spec = ProcessSpec(
            name=name,
            command=command or (sys.executable, "-S", "-c", code, str(port)),
            log=tmp_path / f"{name}.log",
            check=Check(kind=options.pop("kind", CheckKind.TCP), port=port, path="/"),
            lifeline=lifeline,
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

    async def drain(_replaced):
        seen.append(process.state.process.is_alive)

    process = launch(before_stop=drain)
    await ready(process)
    await process.stop()
    assert seen == [True]


async def test_a_drain_ends_when_the_process_dies(launch):
    async def forever(_replaced):
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


SERVE = (
    "import http.server, sys; "
    "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"
)


async def test_one_that_hangs_is_killed_and_started_again(launch):
    process = launch(code=SERVE, kind=CheckKind.HTTP, patience=Patience(for_s=0.5, answer_s=1.0, pause_s=0.05))
    first = await ready(process)
    os.kill(first.pid, signal.SIGSTOP)
    await until(lambda: process.state.restarts == 1)
    await ready(process)
    assert not first.is_alive
    assert process.state.last_exit == "killed by SIGKILL: it hung (does not answer for 0.5 s)"


async def test_a_restart_hands_the_port_over_without_a_gap(launch):
    drained = []

    async def drain(replaced):
        drained.append(replaced)

    process = launch(code=ANSWER, is_shareable=True, before_stop=drain)
    first = await ready(process)
    answers, enough = [], asyncio.Event()

    async def call():
        while not enough.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", process.state.port)  # refused: a gap
            with contextlib.suppress(ConnectionResetError, ValueError):  # what waited for the old one when it ended
                answers.append(int(await reader.read()))
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()

    calling = asyncio.create_task(call())
    await until(lambda: answers)
    await (await process.restart())
    second = await ready(process)
    await until(lambda: answers[-1] == second.pid)
    enough.set()
    await calling
    assert drained == [True]
    assert set(answers) == {first.pid, second.pid}
    assert not first.is_alive
    assert (process.state.restarts, process.state.last_exit) == (1, "restarted on request")
    os.kill(second.pid, signal.SIGKILL)  # the new one is watched like the old one
    await until(lambda: process.state.restarts == 2)
    await ready(process)


async def test_a_restart_where_the_port_cannot_be_shared(launch):
    process = launch()
    first = await ready(process)
    await (await process.restart())
    assert process.state.process != first
    assert not first.is_alive
    assert await process.spec.check.failure() == ""
    assert (process.state.restarts, process.state.last_exit) == (1, "restarted on request")


async def test_where_the_new_one_does_not_start_the_old_one_goes_on(launch, tmp_path):
    marker = tmp_path / "started"
    once = f"import pathlib, sys; p = pathlib.Path({str(marker)!r}); p.exists() and sys.exit(5); p.touch()\n"
    process = launch(code=once + ANSWER, is_shareable=True)
    first = await ready(process)
    with pytest.raises(RestartError, match=r"status 5.*the old one goes on"):
        await process.restart()
    assert first.is_alive
    assert process.state.process == first
    assert process.state.restarts == 0


async def test_what_does_not_run_is_not_restarted(launch):
    process = launch(needs=[asyncio.Event()])
    with pytest.raises(RestartError, match="does not run"):
        await process.restart()


class Pulse:
    """A check that answers as told, and then as last told."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def silence(self, _timeout_s):
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    ("answers", "step_s", "asked"),
    [
        (["deaf"], 10, 3),
        (["deaf"], 5, 5),
        (["deaf", "deaf", "", "deaf"], 10, 6),
        (["deaf"], 1000, 3),  # a suspended machine: two failures are not enough, whatever the clock says
    ],
)
async def test_it_takes_time_and_several_failures_in_a_row_to_be_hung(answers, step_s, asked):
    pulse, clock = Pulse(*answers), itertools.count(0, step_s)
    assert await until_hung(pulse, Patience(for_s=30.0, pause_s=0.0), lambda: next(clock)) == "deaf"
    assert pulse.asked == asked


async def test_a_database_that_takes_connections_and_says_nothing_is_deaf():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check = Check(kind=CheckKind.MONGODB, port=listener.getsockname()[1])
        assert await check.silence(0.3) == "does not answer"


def test_back_off_doubles_to_its_most_and_begins_anew_after_a_steady_life():
    backoff = Backoff()
    waits = [backoff.after(up_s=0.0) for _ in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.after(up_s=30.0) == 0.1
    assert backoff.after(up_s=1.0) == 0.2
