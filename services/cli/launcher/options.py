"""What `malla up` was asked for, as arguments, so that a guardian can ask for the same again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class LaunchOptions:
    """One mesh.

    Attributes:
        port: Of the edge; None for the one it had before, or the configured one; 0 for a free one.
        replicas: Processes by server; one where nothing is said.
        guarded: Whether a guardian brings a killed supervisor back.
        embedded: Whether to use the embedded database whatever MONGODB_URI says.
    """

    data_dir: Path
    port: int | None = None
    replicas: dict[str, int] = field(default_factory=dict)
    guarded: bool = True
    embedded: bool = False

    def to_arguments(self) -> list[str]:
        """Returns what `parse_arguments` reads."""
        arguments = ["--data-dir", str(self.data_dir)]
        if self.port is not None:
            arguments += ["--port", str(self.port)]
        for name, count in self.replicas.items():
            arguments += ["--replicas", f"{name}={count}"]
        flags = {"--unguarded": not self.guarded, "--embedded": self.embedded}
        return [*arguments, *(flag for flag, is_set in flags.items() if is_set)]

    def to_command(self) -> list[str]:
        """Returns the command that runs a supervisor."""
        # -P: a folder `services` where the user happens to be is not ours.
        return [sys.executable, "-P", "-m", "services.cli.launcher", *self.to_arguments()]


@dataclass(frozen=True)
class SupervisorArguments:
    """How a supervisor process was started.

    Attributes:
        ready_fd: Descriptor that is told how the start went; None for nobody.
        guardian_pid: The guardian that started it, after another supervisor died; None for a first start.
    """

    options: LaunchOptions
    ready_fd: int | None
    guardian_pid: int | None


def parse_arguments(arguments: Sequence[str]) -> SupervisorArguments:
    """Reads a supervisor's command line."""
    parser = argparse.ArgumentParser(prog="malla-supervisor")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--replicas", action="append", default=[], metavar="SERVER=N")
    parser.add_argument("--unguarded", action="store_true")
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--guardian-pid", type=int)
    given = parser.parse_args(arguments)
    replicas = parse_replicas(given.replicas)
    options = LaunchOptions(given.data_dir, given.port, replicas, not given.unguarded, given.embedded)
    return SupervisorArguments(options, given.ready_fd, given.guardian_pid)


def parse_replicas(values: Sequence[str]) -> dict[str, int]:
    """Reads "embedding=2". Raises ValueError for what is not of that form."""
    replicas = {}
    for value in values:
        name, _, count = value.partition("=")
        replicas[name] = int(count)
    return replicas
