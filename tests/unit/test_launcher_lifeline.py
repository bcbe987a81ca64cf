"""The lifeline: what hangs on it goes on while anybody holds it, and ends with the last who does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from services.cli.launcher import exec_child
from services.cli.launcher.adoption import end_strangers
from services.cli.launcher.control import stop_mesh
from services.cli.launcher.lifeline import hanging, held, lifeline_path
from services.cli.launcher.ports import choose_ports
from services.cli.launcher.procfs import Process, kill_group, ourselves
from services.cli.launcher.spawn import spawn
from services.cli.launcher.state import MeshPhase, MeshState, ProcessState, write_state
from tests.fakes.launched import ANSWER, Launched
from tests.fakes.waiting import until

HOLD = """
import os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
print("holds", flush=True)
sys.stdin.read()
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ANSWER


@pytest.fixture
def launch(tmp_path):
    """Starts programs that hang on the lifeline of `tmp_path`."""
    launched = []

    def start(code=ANSWER):
        one = Launched(code, choose_ports({"one": 1}, {})["one"][0], lifeline_path(tmp_path))
        launched.append(one)
        return one

    yield start
    for one in launched:
        one.orphan().send(signal.SIGKILL)


def answers(launched):
    try:
        with socket.create_connection(("127.0.0.1", launched.port), 5) as connection:
            return int(connection.recv(100) or 0) == launched.process.pid
    except OSError:
        return False


def waiter(code="import sys; sys.stdin.read()", *arguments, **options):
    command = [sys.executable, "-S", "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def holder(path):
    process = waiter(HOLD, str(path))
    process.stdout.readline()
    return process


async def test_it_goes_on_while_one_holder_lives_and_dies_with_the_last(tmp_path, launch):
    with held(tmp_path):
        first, second = (holder(lifeline_path(tmp_path)) for _ in range(2))
        program = launch()
        await until(lambda: answers(program))
    program.orphan()  # we have let go, and its parent has died
    first.kill()
    first.communicate()
    assert answers(program)  # what was sent SIGKILL says nothing more
    third = holder(lifeline_path(tmp_path))
    second.kill()
    second.communicate()
    assert answers(program)
    third.kill()
    third.communicate()
    await until(lambda: not program.process.is_alive)


@pytest.mark.parametrize("gone", ["the parent", "the last holder"])
def test_one_whose_mesh_died_before_it_could_hang_on_does_not_begin(tmp_path, gone):
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(tmp_path))
        if gone == "the last holder":
            stack.close()
        parent = os.getpid() + (gone == "the parent")
        command = [sys.executable, "-I", "-S", exec_child.__file__, str(parent), "lifeline", str(lifeline_path(tmp_path))]
        done = subprocess.run([*command, "echo", "it began"], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b""


async def test_what_hangs_on_it_is_found_and_nothing_else(tmp_path, launch):
    with held(tmp_path) as holding:
        program = launch()
        await until(lambda: answers(program))
        inside, outside = waiter(pass_fds=[holding]), waiter(start_new_session=True)
        assert [process for process in hanging(tmp_path) if process != ourselves()] == [program.process]
        for process in (inside, outside):
            process.communicate()


def test_something_else_in_its_place_is_replaced(tmp_path):
    lifeline_path(tmp_path).write_text("")
    with held(tmp_path):
        assert lifeline_path(tmp_path).is_fifo()


def known(tmp_path, **lives):
    rows = [
        ProcessState(name=name, check={"kind": "process"}, log=tmp_path, process=life.process) for name, life in lives.items()
    ]
    return MeshState(data_dir=tmp_path, logs=tmp_path, processes=rows)


async def test_a_stranger_is_ended_and_what_is_known_goes_on(tmp_path, launch):
    with held(tmp_path):
        listed, gentle, stubborn = launch(), launch(), launch(STUBBORN)
        for one in (listed, gentle, stubborn):
            await until(lambda one=one: answers(one))
            one.orphan()
        end_strangers(tmp_path, known(tmp_path, listed=listed), guardian_pid=os.getpid(), grace_s=0.1)
        assert not gentle.process.is_alive
        assert not stubborn.process.is_alive
        assert answers(listed)


async def test_a_group_whose_number_is_anothers_by_now_is_left_alone(launch, tmp_path):
    with held(tmp_path):
        program = launch()
        await until(lambda: answers(program))
        kill_group(program.process.pid, Process(pid=program.process.pid, ticks=program.process.ticks - 1))
        assert answers(program)


async def test_a_mesh_whose_supervisor_cannot_be_brought_back_is_stopped_all_the_same(tmp_path, launch):
    with held(tmp_path):
        guardian = holder(lifeline_path(tmp_path))
        program = launch()
        await until(lambda: answers(program))
        program.orphan()
    state = known(tmp_path, guardian=SimpleNamespace(process=Process.of(guardian.pid)), one=program)
    state.phase = MeshPhase.READY
    write_state(state)
    assert answers(program)
    stop_mesh(state, timeout_s=0.2)
    guardian.communicate()
    await until(lambda: not program.process.is_alive)


def test_a_child_may_be_told_of_its_parents_death_instead(tmp_path):
    code = "import sys; from pathlib import Path; from services.cli.launcher.spawn import spawn; import signal; "
    code += "print(spawn(sys.argv[2:], Path(sys.argv[1]), dies_with_us=signal.SIGTERM).pid, flush=True); sys.stdin.read()"
    told = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('told', flush=True)))\n"
    log = tmp_path / "log"
    command = [sys.executable, "-S", "-c", told + "print('up', flush=True); signal.pause()"]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(log), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        child = Process.of(int(parent.stdout.readline()))
        while "up" not in log.read_text():
            assert child.is_alive
        parent.kill()
    assert child.wait(20)
    assert log.read_text() == "up\ntold\n"


def test_one_that_was_stopped_by_a_signal_is_told_from_one_that_runs(tmp_path):
    log = tmp_path / "log"
    child = spawn([sys.executable, "-S", "-c", "import signal; signal.pause()"], log)
    process = Process.of(child.pid)
    try:
        assert not process.is_stopped
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        assert process.is_stopped
        assert process.is_alive
    finally:
        child.kill()
        child.wait()
    assert not process.is_stopped
    assert not ourselves().is_stopped
