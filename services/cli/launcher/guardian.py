"""Brings a killed supervisor back. As little as can be, so that it has no reason to die itself.

    python -m services.cli.launcher.guardian PID TICKS SUPERVISOR_ARGUMENT...

Started by a supervisor, which starts another one if it dies. SIGTERM ends it: the first thing that a supervisor does when it is
asked to stop. It has inherited the lifeline: while it lives, the mesh goes on without a supervisor.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

from common.logs import configure_logging
from services.cli.launcher.backoff import Backoff
from services.cli.launcher.options import LaunchOptions, parse_arguments
from services.cli.launcher.procfs import Process
from services.cli.launcher.spawn import exit_reason, spawn

log = logging.getLogger("malla.guardian")

REFUSED = 3
"""Status of a supervisor that found another one at work: nothing to bring back."""

_FOREVER_S = 24 * 3600.0


def guardian_command(options: LaunchOptions, guarded: Process) -> list[str]:
    """Returns the command that guards a supervisor."""
    module = ["-P", "-m", "services.cli.launcher.guardian"]
    return [sys.executable, *module, str(guarded.pid), str(guarded.ticks), *options.to_arguments()]


def main() -> None:
    """Guards one supervisor, and every one after it, until one ends as asked."""
    configure_logging("INFO")
    guarded = Process(pid=int(sys.argv[1]), ticks=int(sys.argv[2]))
    options = parse_arguments(sys.argv[3:]).options
    began = time.monotonic()
    while not guarded.wait(_FOREVER_S):
        pass
    backoff = Backoff()
    while options.data_dir.exists():
        log.warning("the supervisor died; starting another")
        time.sleep(backoff.after(time.monotonic() - began))
        began = time.monotonic()
        code = _start(options).wait()
        log.warning("the supervisor ended", extra={"reason": exit_reason(code)})
        if code in {0, REFUSED}:
            return


def _start(options: LaunchOptions) -> subprocess.Popen[bytes]:
    command = [*options.to_command(), "--guardian-pid", str(os.getpid())]
    return spawn(command, options.data_dir / "logs" / "supervisor.log")


if __name__ == "__main__":
    main()
