"""Restarts one process after the other, so that calls go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from common.proxy import GATEWAY
from services.cli.launcher.managed import ManagedProcess, RestartError
from services.cli.launcher.plan import PROXY

News = tuple[str, str]
"""A process, and what became of it."""


def chosen(names: Sequence[str], known: Iterable[str]) -> list[str]:
    """Returns which processes are meant, in the order in which to restart them. Raises RestartError for an unknown one.

    A server's name means all its replicas. The gateway follows the proxy, also where it is not named: only the gateway ends
    WebSockets, and an old proxy would wait for them.
    """
    all_names = list(known)
    unknown = [name for name in names if not any(_is_meant(name, one) for one in all_names)]
    if unknown:
        raise RestartError(f"There is no process '{unknown[0]}' to restart. There are: {', '.join(all_names)}.")
    wanted = [*names, GATEWAY] if PROXY in names else names
    meant = [one for one in all_names if not names or any(_is_meant(name, one) for name in wanted)]
    return sorted(meant, key=lambda one: 2 if _is_meant(GATEWAY, one) else int(one == PROXY))


def _is_meant(name: str, process: str) -> bool:
    return process == name or (process.startswith(f"{name}-") and process.removeprefix(f"{name}-").isdecimal())


async def restart_rolling(processes: Mapping[str, ManagedProcess], names: Sequence[str]) -> AsyncIterator[News]:
    """Restarts processes, each once the one before it is done, and yields what becomes of each. Raises RestartError.

    The old proxy drains beside what follows: all others wait for the end of the old process.
    """
    draining: asyncio.Task[None] | None = None
    for name in chosen(names, processes):
        yield name, "restarting"
        retiring = await processes[name].restart()
        if name == PROXY:
            draining = retiring
            yield name, "the new one serves; the old one drains"
            continue
        yield name, "serves"
        await retiring
        yield name, "restarted"
    if draining is not None:
        await draining
        yield PROXY, "restarted"
