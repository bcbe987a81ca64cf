"""Which process a pid is, so that a reused pid is never taken for one of ours."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from common.base_model import BaseModel

_LISTENING = "0A"


class Process(BaseModel):
    """A process, told from a later one with the same pid by when it started.

    Attributes:
        ticks: Field 22 of /proc/PID/stat (proc_pid_stat(5)): clock ticks from boot to its start.
    """

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Returns the process that runs as `pid`, or None. One that waits to be reaped does not run."""
        with suppress(OSError):
            fields = _fields(pid)
            if fields[0] not in {"Z", "X"}:
                return cls(pid=pid, ticks=int(fields[19]))
        return None

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signals it if it still runs."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def is_stopped(self) -> bool:
        """Whether it stands still: SIGSTOP, or a debugger."""
        with suppress(OSError):
            return _fields(self.pid)[0] in {"T", "t"} and self.is_alive
        return False

    def wait(self, timeout_s: float) -> bool:
        """Blocks until it has ended, and says whether it did in time."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.is_alive:
                return True
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)


def _fields(pid: int) -> list[str]:
    # From the state on. The name before it may hold spaces and parentheses; what follows the last parenthesis cannot.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def ourselves() -> Process:
    """Returns the process that asks."""
    process = Process.of(os.getpid())
    if process is None:
        raise RuntimeError("/proc is not there: the launcher needs Linux")
    return process


def listens(pid: int, port: int) -> bool:
    """Says whether a process itself listens on a TCP port of this machine, whoever else does on the same one."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()  # proc_net(5): local address, remote address, state, …, inode
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if str(descriptor.readlink()) in sockets:
                    return True
    return False


def kill_group(pid: int, leader: Process | None) -> None:
    """Ends what the leader of a group has started, and the leader too if it still runs."""
    # While anything of a group is left, no other process is given its number.
    if Process.of(pid) in (None, leader):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


async def ended(pid: int, known: Process | None = None) -> None:
    """Returns when the process that runs as `pid` now has ended; a child of ours can then be reaped without waiting.

    For one that is not our child say who it is `known` to be: its pid may be another's by now.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    if known is not None and not known.is_alive:
        os.close(descriptor)
        return
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def readable() -> None:
        loop.remove_reader(descriptor)
        if not done.done():
            done.set_result(None)

    try:
        loop.add_reader(descriptor, readable)
        await done
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
