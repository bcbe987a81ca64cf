"""Settings of the gateway."""

from __future__ import annotations

from pydantic import Field

from common.settings import Settings


class GatewaySettings(Settings):
    """Settings of the HTTP server behind the edge."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, description="Port to listen on; 0 for a free one.")
    drain_grace_s: float = Field(default=20.0, description="Seconds that requests may take to end after SIGTERM.")
