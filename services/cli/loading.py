"""Commands that are loaded once they are used: help needs a line of each, and no gRPC, database or model of data."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_group


class Place(NamedTuple):
    """Where a command is.

    Attributes:
        module: Below `services.cli.commands`. It has an `app` of several commands, or a function named like itself.
        help: What help says of the command, the beginning of its own.
    """

    module: str
    help: str


class LoadedWhenUsed(TyperGroup):
    """A group whose commands are named here and loaded one by one."""

    places: ClassVar[Mapping[str, Place]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # The names at least are known, for the list and for what is said of a name that is almost one of them.
        self.commands: dict[str, Any] = dict.fromkeys(self.places)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Returns a command; None where there is none of that name."""
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            self.commands[cmd_name] = _load(cmd_name, self.places[cmd_name].module)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Writes the list of help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in self.places.items()])


def _load(name: str, module_name: str) -> Any:
    gc.disable()  # loading makes no garbage; looking for some would take a fifth of it
    try:
        module = import_module(f"services.cli.commands.{module_name}")
    finally:
        gc.enable()
    around = typer.Typer(rich_markup_mode=None)
    if hasattr(module, "app"):
        around.add_typer(module.app, name=name)
    else:
        around.command(name)(getattr(module, module_name))
    return get_group(around).commands[name]
