"""`malla down`."""

from __future__ import annotations

from services.cli.data_dir import DataDir, running_mesh, settings_for
from services.cli.launcher.control import LaunchError, stop_mesh
from services.cli.output import CliError, JsonFlag, console, print_json


def down(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Stop the mesh: let calls end, then stop every process. The data stay."""
    settings = settings_for(data_dir)
    state = running_mesh(settings)
    try:
        stop_mesh(state)
    except LaunchError as error:
        raise CliError(str(error)) from None
    message = f"The mesh in {settings.home} is stopped. Its data are still there."
    if as_json:
        print_json({"success": True, "message": message})
    else:
        console().print(message)
