"""What a check is given, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from common.client import MallaClient
from services.cli.launcher.layout import Layout
from services.cli.launcher.state import MeshState
from services.cli.settings import CliSettings


class Outcome(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        said: What is so. Never holds a secret.
        advice: What to do; empty where nothing is to be done.
        facts: Figures for machines.
    """

    outcome: Outcome
    said: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def ok(said: str, **facts: Any) -> Finding:
    """Returns that all is well."""
    return Finding(Outcome.OK, said, facts=facts)


def warning(said: str, advice: str, **facts: Any) -> Finding:
    """Returns what will go wrong, or works worse than it could."""
    return Finding(Outcome.WARNING, said, advice, facts)


def failed(said: str, advice: str, **facts: Any) -> Finding:
    """Returns what is wrong."""
    return Finding(Outcome.FAILED, said, advice, facts)


@dataclass(frozen=True)
class Patient:
    """The mesh that is looked at.

    Attributes:
        state: What is written about it; None where none has ever run here.
        client: Calls through the edge; None while the mesh is down.
        tenant: For whom indexes are compared.
    """

    settings: CliSettings
    state: MeshState | None
    client: MallaClient | None
    tenant: str

    @property
    def layout(self) -> Layout:
        """Where it keeps what."""
        return Layout(self.settings.home)


@dataclass(frozen=True)
class Check:
    """One look at one thing.

    Attributes:
        name: As shown.
        look: Yields what it finds. What it raises is a failure as well.
        needs_mesh: Whether it can be done only while the mesh runs.
        asks_model: Whether it costs tokens.
    """

    name: str
    look: Callable[[Patient], AsyncIterator[Finding]]
    needs_mesh: bool = True
    asks_model: bool = False
