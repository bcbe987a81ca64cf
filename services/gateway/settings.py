"""Settings of the gateway."""

from __future__ import annotations

from pydantic import Field

from common.settings import MeshSettings


class GatewaySettings(MeshSettings):
    """Settings of the HTTP server behind the edge."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, description="Port to listen on; 0 for a free one.")
    reuse_port: bool = Field(
        default=False, description="Listen beside another process on the same port, to take its place without a pause."
    )
    drain_grace_s: float = Field(default=20.0, description="Seconds that requests may take to end after SIGTERM.")
    mesh_address: str = Field(
        default="127.0.0.1:9000", description="The mesh listener, through which the query server is called."
    )
    turn_timeout_s: float = Field(default=600.0, description="Seconds a turn of a WebSocket may take.")
    websocket_connections: int = Field(default=2000, description="Open WebSockets; more are refused.")
    websocket_queue: int = Field(default=4, description="Messages of a WebSocket that wait for a turn; more are refused.")
    websocket_frame_bytes: int = Field(default=64 * 1024, description="Largest message on a WebSocket; a larger one closes it.")
    websocket_ping_interval_s: float = Field(default=20.0, description="Seconds between pings of a WebSocket.")
    websocket_ping_timeout_s: float = Field(
        default=30.0, description="Seconds a pong may take; then the peer is taken for dead."
    )
    websocket_send_timeout_s: float = Field(
        default=60.0,
        description="Seconds an event may wait for a WebSocket's client to read; then the client is taken for dead.",
    )
