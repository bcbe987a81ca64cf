"""Starts a mesh that outlives the command, and stops one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from services.cli.launcher.layout import Layout
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.spawn import spawn, tail
from services.cli.launcher.state import GUARDIAN, SUPERVISOR, MeshState, read_state

_POLL_S = 0.05
_CUT_S = 5.0


class LaunchError(Exception):
    """The mesh did not start, or does not stop.

    Attributes:
        log_tail: The last lines of the log that says why.
    """

    def __init__(self, message: str, log_tail: list[str] | None = None) -> None:
        super().__init__(message)
        self.log_tail = log_tail or []


def start_detached(options: LaunchOptions, *, dies_with_us: signal.Signals | None = None) -> MeshState:
    """Starts a supervisor and returns once the mesh takes calls.

    Args:
        options: What to start.
        dies_with_us: Sent to the supervisor when we die; None for one that lives on.

    Raises:
        LaunchError: It did not come up. Nothing of it is left.
    """
    options.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = Layout(options.data_dir).log(SUPERVISOR)
    reading, writing = os.pipe()
    try:
        command = [*options.to_command(), "--ready-fd", str(writing)]
        supervisor = spawn(command, log, dies_with_us=dies_with_us, pass_fds=(writing,))
    finally:
        os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            news = pipe.read()  # to its end: the supervisor's one message, or its death
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise
    return _started(options, supervisor, news)


def _started(options: LaunchOptions, supervisor: subprocess.Popen[bytes], news: bytes) -> MeshState:
    message = json.loads(news) if news else {}
    state = read_state(options.data_dir)
    if message.get("ready") and state is not None:
        supervisor.returncode = 0  # it lives on by itself: nobody here waits for it, and Popen shall not complain
        return state
    supervisor.wait()
    log = Path(message.get("log", Layout(options.data_dir).log(SUPERVISOR)))
    reason = message.get("error", f"The supervisor ended before the mesh was ready. Its log: {log}")
    raise LaunchError(reason, tail(log) if "log" in message or not message else None)


def _cut(state: MeshState) -> None:
    """Ends a mesh whose supervisor cannot be brought back: everything hangs on its guardian."""
    guardian = state.process(GUARDIAN)
    if guardian is not None and guardian.process is not None:
        guardian.process.send(signal.SIGKILL)
        guardian.process.wait(_CUT_S)


def stop_mesh(state: MeshState, timeout_s: float = 90.0) -> None:
    """Asks a mesh to stop and returns once no process of it is left. Raises LaunchError if it takes too long."""
    until = time.monotonic() + timeout_s
    current: MeshState | None = state
    while current is not None and current.is_running and time.monotonic() < until:
        row = current.process(SUPERVISOR)
        if row is None or row.process is None or not row.process.is_alive:
            time.sleep(_POLL_S)  # its guardian is bringing it back
        else:
            row.process.send(signal.SIGTERM)
            row.process.wait(max(0.0, until - time.monotonic()))
        current = read_state(state.data_dir)
    if current is not None and current.is_running and not current.is_supervised:
        _cut(current)
    if current is not None and current.is_running:
        raise LaunchError(f"The mesh is still stopping after {timeout_s:.0f} s. See {state.logs}/supervisor.log.")
