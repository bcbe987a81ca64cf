"""Becomes another program, one that the kernel ends with the process that started it, or with its mesh. Linux only.

    python -I -S exec_child.py PARENT_PID parent SIGNAL PROGRAM [ARGUMENT...]
    python -I -S exec_child.py PARENT_PID lifeline FIFO PROGRAM [ARGUMENT...]

`parent` sends the signal when the parent *thread* ends (`PR_SET_PDEATHSIG`): spawn from the main thread. `lifeline` kills when
nobody has the FIFO open for writing any more: a pipe can tell its readers by a signal (fcntl(2), `O_ASYNC`). Both outlast exec.

A program of its own, because code between fork and exec (`preexec_fn`) may deadlock in a process with threads.
"""

import ctypes
import fcntl
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arranges how the program is to end and becomes it."""
    parent, how, what, *command = sys.argv[1:]
    {"parent": _die_with_parent, "lifeline": _hang_on}[how](what)
    if os.getppid() != int(parent):
        sys.exit(0)  # the parent died before this could be arranged: nobody knows of us
    os.execvp(command[0], command)  # noqa: S606  # the command is the supervisor's own


def _die_with_parent(number: str) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _hang_on(path: str) -> None:
    lifeline = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_inheritable(lifeline, True)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    try:
        os.read(lifeline, 1)
    except BlockingIOError:
        return  # nothing to read yet: somebody holds it
    sys.exit(0)  # its end: the last holder let go before this could be arranged


if __name__ == "__main__":
    main()
