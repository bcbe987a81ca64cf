"""Settings of the command line."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from common.settings import Settings


class CliSettings(Settings):
    """Where the mesh is and how it is started."""

    data_dir: Path = Field(default=Path("~/.malla"), description="Where a mesh keeps everything it has.")
    edge_port: int = Field(default=8080, description="Port of the edge; 0 for a free one.")
    address: str = Field(
        default="", description="Edge of a mesh that runs elsewhere, host:port; empty for the one of data_dir."
    )
    token: SecretStr = Field(
        default=SecretStr(""), description="Token for that edge; empty for the first tenant's of data_dir."
    )
    mongodb_uri: SecretStr = Field(
        default=SecretStr(""), validation_alias="MONGODB_URI", description="Empty for the embedded database."
    )
    audit_log: Path | None = Field(
        default=None, description="File, or folder, of the servers' audit log; logs/audit in data_dir where not set."
    )
    start_timeout_s: float = Field(default=120.0, description="Seconds that the mesh may take to become ready.")
    drain_grace_s: float = Field(default=20.0, description="Seconds that calls may take to end after SIGTERM.")
    hung_after_s: float = Field(
        default=30.0, description="Seconds that a process may fail its health check before it is restarted; 0 for ever."
    )
    log_bytes: int = Field(default=16 * 1024 * 1024, description="Size at which a log of a process is put aside.")
    log_files: int = Field(default=3, description="Logs put aside that are kept, of each process.")

    @property
    def home(self) -> Path:
        """The data dir as an absolute path."""
        return self.data_dir.expanduser().resolve()
