"""`mesh.json`: what runs in a data dir, for the other commands and for the next supervisor."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from common.base_model import BaseModel
from services.cli.launcher.checks import Check
from services.cli.launcher.procfs import Process

SUPERVISOR = "supervisor"
GUARDIAN = "guardian"


class MeshPhase(StrEnum):
    """Where a mesh stands."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ProcessPhase(StrEnum):
    """Where a process stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


class LifeState(BaseModel):
    """One run of a process.

    Attributes:
        turn: Which of the variants of the process it is.
    """

    process: Process
    turn: int


class ProcessState(BaseModel):
    """One process of the mesh.

    Attributes:
        restarts: How often it was started again since `malla up`.
        last_exit: How its last life ended; empty in its first.
        started_at: Unix time in seconds of its last start; 0 before.
        turn: Which of its variants runs: each restart on request that needs no pause is the next one.
        beside: What runs beside it while one life replaces another: the one that retires, or the one that is not ready yet.
    """

    name: str
    phase: ProcessPhase = ProcessPhase.WAITING
    process: Process | None = None
    port: int = 0
    check: Check
    restarts: int = 0
    last_exit: str = ""
    started_at: float = 0.0
    turn: int = 0
    beside: list[LifeState] = Field(default_factory=list)
    log: Path


class MeshState(BaseModel):
    """A mesh.

    Attributes:
        mongodb_uri: Without its password.
        token: For the first tenant; the reason why the file is its owner's only.
    """

    phase: MeshPhase = MeshPhase.STARTING
    data_dir: Path
    logs: Path
    edge_url: str = ""
    mesh_address: str = ""
    admin_address: str = ""
    mongodb_uri: str = ""
    token: str = Field(default="", repr=False)
    ports: dict[str, list[int]] = Field(default_factory=dict)
    processes: list[ProcessState] = Field(default_factory=list)

    def process(self, name: str) -> ProcessState | None:
        """Returns the process of that name."""
        return next((row for row in self.processes if row.name == name), None)

    def _runs(self, name: str) -> bool:
        row = self.process(name)
        return row is not None and row.process is not None and row.process.is_alive

    @property
    def has_survivors(self) -> bool:
        """Whether any of it but the supervisor and the guardian runs."""
        return any(self._runs(row.name) for row in self.processes if row.name not in {SUPERVISOR, GUARDIAN})

    @property
    def is_supervised(self) -> bool:
        """Whether its supervisor runs."""
        return self._runs(SUPERVISOR)

    @property
    def is_running(self) -> bool:
        """Whether it runs, or is about to again because its guardian does."""
        return self.phase is not MeshPhase.STOPPED and (self.is_supervised or self._runs(GUARDIAN))

    @property
    def address(self) -> str:
        """The edge as "host:port"."""
        return self.edge_url.partition("://")[2]


def state_path(data_dir: Path) -> Path:
    """Returns where a data dir's `mesh.json` is."""
    return data_dir / "mesh.json"


def read_state(data_dir: Path) -> MeshState | None:
    """Returns what is written about a data dir's mesh; None without it, and for what another version has written."""
    try:
        return MeshState.model_validate_json(state_path(data_dir).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_state(state: MeshState) -> None:
    """Writes `mesh.json` in one step, readable by its owner only."""
    path = state_path(state.data_dir)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(state.model_dump_json(indent=2) + "\n")
    partial.replace(path)
