"""The files of the pages: the console's own, and Swagger UI's from its package."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

STATIC = Path(__file__).resolve().parent / "static"
SWAGGER_UI = Path(str(swagger_ui_path))

_SWAGGER_FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js"})


class SwaggerFiles(StaticFiles):
    """Serves the two files /docs needs: the package's own page shows somebody else's API."""

    def __init__(self) -> None:
        super().__init__(directory=SWAGGER_UI)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Finds a file of the allowed ones."""
        return super().lookup_path(path) if path in _SWAGGER_FILES else ("", None)
