"""Programs that a supervisor has started which is there no more."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from common.settings import REPOSITORY
from services.cli.launcher.procfs import Process

# Answers every connection with its pid: an answer is from a process to which no SIGKILL has been sent.
ANSWER = """
import os, socket, sys
with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen()
    while True:
        with listener.accept()[0] as caller:
            caller.sendall(str(os.getpid()).encode())
"""

_SPAWN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from services.cli.launcher.spawn import spawn
log, lifeline = map(Path, sys.argv[2:4])
child = spawn(sys.argv[4:], log, lifeline=lifeline)
print(child.pid, flush=True)
sys.stdin.read()
"""


class Launched:
    """A program that hangs on a lifeline, and the process that has started it.

    Attributes:
        process: The program.
        parent: Its parent. Ends when `orphan` is called.
    """

    def __init__(self, code: str, port: int, lifeline: Path) -> None:
        self.port = port
        command = (sys.executable, "-S", "-c", code, str(port))
        self.parent = subprocess.Popen(
            [sys.executable, "-c", _SPAWN, str(REPOSITORY), str(lifeline.with_name("log")), str(lifeline), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.parent.stdout is not None
        found = Process.of(int(self.parent.stdout.readline()))
        assert found is not None
        self.process = found

    def orphan(self) -> Process:
        """Leaves the program alone, as a killed supervisor does, and returns it."""
        self.parent.kill()
        with suppress(BrokenPipeError):
            self.parent.communicate()
        return self.process
