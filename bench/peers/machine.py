"""What every benchmark asks the machine: a free port, and what processes have cost."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Cpu(NamedTuple):
    """CPU seconds that processes have used, their threads included.

    Attributes:
        all_s: In their own code and in the kernel's.
        own_s: In their own code alone. What the kernel adds is mostly the price of switching between processes, and that
            differs between machines: on a virtual one inside another it is a multiple.
    """

    all_s: float
    own_s: float


def cpu(pids: Iterable[int]) -> Cpu:
    """Returns what processes have used so far."""
    own = kernel = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own, kernel = own + int(fields[11]), kernel + int(fields[12])
    return Cpu((own + kernel) / TICKS_PER_S, own / TICKS_PER_S)


def cpu_s(pids: Iterable[int]) -> float:
    """Returns the CPU seconds processes have used."""
    return cpu(pids).all_s
