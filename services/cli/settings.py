"""Settings of the command line."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from common.settings import Settings


class CliSettings(Settings):
    """Where the mesh is and how it is started."""

    data_dir: Path = Field(default=Path("~/.malla"), description="Where a mesh keeps everything it has.")
    edge_port: int = Field(default=8080, description="Port of the edge; 0 for a free one.")
    address: str = Field(
        default="", description="Edge of a mesh that runs elsewhere, host:port; empty for the one of data_dir."
    )
    token: str = Field(default="", repr=False, description="Token for that edge; empty for the first tenant's of data_dir.")
    mongodb_uri: str = Field(
        default="", validation_alias="MONGODB_URI", repr=False, description="Empty for the embedded database."
    )
    start_timeout_s: float = Field(default=120.0, description="Seconds that the mesh may take to become ready.")
    drain_grace_s: float = Field(default=20.0, description="Seconds that calls may take to end after SIGTERM.")

    @property
    def home(self) -> Path:
        """The data dir as an absolute path."""
        return self.data_dir.expanduser().resolve()
