"""A supervisor of its own: `python -m services.cli.launcher --data-dir DIR …`, as `malla up --detach` starts it."""

from __future__ import annotations

import json
import os
import sys

from common.settings import wrong_setting
from services.cli.launcher.guardian import REFUSED
from services.cli.launcher.lock import AlreadyRunningError
from services.cli.launcher.options import SupervisorArguments, parse_arguments
from services.cli.launcher.ports import PortTakenError
from services.cli.launcher.run import run_mesh
from services.cli.launcher.supervisor import StartError
from services.cli.settings import CliSettings


def main() -> int:
    """Runs a mesh until it is asked to stop; returns the exit status."""
    arguments = parse_arguments(sys.argv[1:])
    try:
        run_mesh(
            arguments.options,
            CliSettings(),
            on_ready=lambda _state: _tell(arguments, {"ready": True}),
            guardian_pid=arguments.guardian_pid,
        )
    except AlreadyRunningError:
        _tell(arguments, {"error": "already running"})
        return REFUSED
    except StartError as error:
        _tell(arguments, {"error": str(error), "log": str(error.log_path)})
        return 1
    except PortTakenError as error:
        _tell(arguments, {"error": str(error)})
        return 1
    except ValueError as error:
        if not (setting := wrong_setting(error)):
            raise
        _tell(arguments, {"error": setting})
        return 1
    return 0


def _tell(arguments: SupervisorArguments, news: dict[str, object]) -> None:
    if arguments.ready_fd is not None:
        with os.fdopen(arguments.ready_fd, "w") as pipe:
            pipe.write(json.dumps(news))


if __name__ == "__main__":
    sys.exit(main())
