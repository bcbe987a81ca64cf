"""Finds ports that nobody listens on."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LOWEST = 20_000
_LINUX_DEFAULT = 32_768


class PortTakenError(Exception):
    """Another process listens on a port that was asked for."""


def is_free(port: int) -> bool:
    """Says whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        # As servers do: a closed connection in TIME_WAIT does not keep a port; a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_ports(wanted: Mapping[str, int], remembered: Mapping[str, Sequence[int]], exclude: int = 0) -> dict[str, list[int]]:
    """Returns so many ports for each name: the ones it had before where they are free, others where not.

    Not by binding port 0: the kernel picks those from the range it also gives to outgoing connections, so the port of a process
    that died could be taken before it is back.
    """
    taken = {exclude}
    chosen: dict[str, list[int]] = {}
    for name, count in wanted.items():
        before = list(remembered.get(name, ()))[:count]
        chosen[name] = [_take(taken, before[i] if i < len(before) else 0) for i in range(count)]
    return chosen


def _take(taken: set[int], before: int) -> int:
    port = before
    while port in taken or port <= 0 or not is_free(port):
        port = random.randrange(_LOWEST, _lowest_outgoing())  # noqa: S311  # not a secret
    taken.add(port)
    return port


def _lowest_outgoing() -> int:
    with suppress(OSError, ValueError):
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if lowest > _LOWEST + 1000:
            return lowest
    return _LINUX_DEFAULT
