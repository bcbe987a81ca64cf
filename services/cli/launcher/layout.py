"""Where a mesh keeps what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The files of one data dir."""

    data_dir: Path

    @property
    def keys(self) -> Path:
        """Folder of the signing keys."""
        return self.data_dir / "keys"

    @property
    def jwks(self) -> Path:
        """The public keys; beside them lies what the proxy knows of tokens."""
        return self.keys / "jwks.json"

    @property
    def logs(self) -> Path:
        """Folder of the logs, one a process."""
        return self.data_dir / "logs"

    @property
    def audit(self) -> Path:
        """Folder of the audit logs: one of each server, and one of the edge."""
        return self.logs / "audit"

    @property
    def database(self) -> Path:
        """Folder of the embedded database."""
        return self.data_dir / "database"

    @property
    def outbox(self) -> Path:
        """Folder of the usage that waits for the database."""
        return self.data_dir / "outbox"

    @property
    def indexes(self) -> Path:
        """Folder of the indexes' snapshots, which the query servers share."""
        return self.data_dir / "indexes"

    @property
    def proxy_config(self) -> Path:
        """The proxy's configuration."""
        return self.data_dir / "envoy.yaml"

    def log(self, name: str) -> Path:
        """Returns the log of a process."""
        return self.logs / f"{name}.log"
