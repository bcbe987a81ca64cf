"""Becomes another program that dies with the process that started it (Linux `PR_SET_PDEATHSIG`).

    python -I -S exec_child.py SIGNAL PARENT_PID PROGRAM [ARGUMENT...]

A program of its own, because code between fork and exec (`preexec_fn`) may deadlock in a process with threads. The kernel
sends the signal when the parent *thread* ends: spawn from the main thread.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arranges the death signal and becomes the program."""
    number, parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(0)  # the parent died before this could be arranged
    os.execvp(command[0], command)  # noqa: S606  # the command is the supervisor's own


if __name__ == "__main__":
    main()
