"""The data dir that a command is about, and the mesh that runs in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.launcher.state import MeshState, read_state
from services.cli.output import CliError
from services.cli.settings import CliSettings


def named_path(given: str) -> Path:
    """Returns a path of the command line. An empty one is a variable that is not set, and not this folder."""
    if not given:
        raise typer.BadParameter("it is empty; for this folder give a dot")
    return Path(given)


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where the mesh keeps everything.  [env: MALLA_DATA_DIR; default: ~/.malla]",
        show_default=False,
        parser=named_path,
        metavar="PATH",
    ),
]


def settings_for(data_dir: Path | None) -> CliSettings:
    """Returns the settings, with the data dir of the command line where one is given."""
    settings = CliSettings()
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})


def running_mesh(settings: CliSettings) -> MeshState:
    """Returns the mesh that runs in the data dir. Raises CliError if none does."""
    state = read_state(settings.home)
    if state is None or not state.is_running:
        raise CliError(f"No mesh runs in {settings.home}. Start one: malla up --data-dir {settings.home} --detach")
    return state
