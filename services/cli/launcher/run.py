"""Runs a mesh in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pydantic import SecretStr

from common.logs import JsonFormatter
from services.cli.launcher.adoption import adoptable, end_strangers
from services.cli.launcher.layout import Layout
from services.cli.launcher.lifeline import held
from services.cli.launcher.lock import mesh_lock
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.plan import Plan
from services.cli.launcher.state import MeshState, read_state
from services.cli.launcher.supervisor import Supervisor
from services.cli.settings import CliSettings

_SPARE_S = 5.0
"""What a server may take from the end of its calls to its own."""


def run_mesh(
    options: LaunchOptions,
    settings: CliSettings,
    *,
    on_ready: Callable[[MeshState], None],
    guardian_pid: int | None = None,
) -> None:
    """Runs a mesh until SIGTERM or SIGINT. Call it from the main thread.

    Args:
        options: What was asked for.
        settings: What is configured.
        on_ready: Told once the mesh takes calls.
        guardian_pid: The guardian that brought us back; None for a first start.

    Raises:
        AlreadyRunningError: Another supervisor has the data dir.
        PortTakenError: The edge's port is not free.
        StartError: A process does not come up. All others are stopped again.
    """
    if options.embedded:
        settings = settings.model_copy(update={"mongodb_uri": SecretStr("")})
    with mesh_lock(options.data_dir), held(options.data_dir) as lifeline:
        handler = _log_to_file(Layout(options.data_dir))
        try:
            previous = read_state(options.data_dir)
            left = None
            if guardian_pid is not None:
                left = adoptable(options, settings, previous)
                end_strangers(options.data_dir, left, guardian_pid, grace_s=settings.drain_grace_s + _SPARE_S)
            plan = Plan.make(options, settings, previous, goes_on=left is not None and left.has_survivors)
            asyncio.run(_supervise(options, plan, left, guardian_pid, lifeline, on_ready))
        finally:
            logging.getLogger("malla.launcher").removeHandler(handler)
            handler.close()


async def _supervise(
    options: LaunchOptions,
    plan: Plan,
    left: MeshState | None,
    guardian_pid: int | None,
    lifeline: int,
    on_ready: Callable[[MeshState], None],
) -> None:
    supervisor = Supervisor(options, plan, previous=left, guardian_pid=guardian_pid, lifeline=lifeline)
    await supervisor.run(on_ready)


def _log_to_file(layout: Layout) -> logging.Handler:
    layout.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.FileHandler(layout.log("supervisor"))
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("malla.launcher")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a terminal is for people
    return handler
