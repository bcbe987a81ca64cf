"""Channels: keepalive, message sizes, retries of calls that no server has seen, and the caller's context on each call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc

from common.channel._following import FollowingChannel
from common.channel._tracing import observed
from common.context import Context
from common.mtls import PROXY, FollowedFiles, Material, MeshTls

ChannelOptions = Sequence[tuple[str, Any]]

# Keepalive must be set on both ends together (gRFC A8); the server allows pings at twice this rate.
KEEPALIVE_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

# These call a model, which bills again for every try. A call that no server has seen is still made again, as gRPC always does.
_CALLS_A_MODEL = (
    {"service": "malla.chat.v1.ChatService"},
    {"service": "malla.query.v1.QueryService", "method": "Query"},
    {"service": "malla.query.v1.QueryService", "method": "StreamQuery"},
    {"service": "malla.query.v1.InternalQueryService", "method": "InternalQuery"},
)

# gRFC A6. UNAVAILABLE only: the call was not processed, or the server said that trying again is right.
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {"name": _CALLS_A_MODEL},
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            },
        ],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
)


def open_channel(
    address: str, *, max_message_bytes: int = 8 * 1024 * 1024, tls: bool = False, mesh: MeshTls | None = None, peer: str = PROXY
) -> grpc.aio.Channel:
    """Opens a channel to "host:port". The caller closes it.

    Args:
        address: Usually the mesh listener, which balances over replicas.
        max_message_bytes: Largest message, each way.
        tls: Whether the other end speaks TLS, as a public edge does.
        mesh: Who the caller is in a mesh that speaks TLS between its members, `settings.mesh_tls()`; None in one that does not.
        peer: Which member the other end must be, in such a mesh.
    """
    options = (
        *KEEPALIVE_OPTIONS,
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.enable_retries", 1),
        # A restarted peer is found again within a second instead of after the default's two minutes of back-off.
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    )
    if mesh is not None:
        return observed(_member_channel(mesh, peer, address, options))
    if tls:
        return observed(grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(), options=options))
    return observed(grpc.aio.insecure_channel(address, options=options))


def _member_channel(mesh: MeshTls, peer: str, address: str, options: ChannelOptions) -> grpc.aio.Channel:
    # gRPC checks DNS names and no SPIFFE ids: the name that only this member's certificate bears, whatever the address.
    named = (*options, ("grpc.ssl_target_name_override", mesh.name_of(peer)))

    def open_with(material: Material) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.cert)
        return grpc.aio.secure_channel(address, credentials, options=named)

    return FollowingChannel(FollowedFiles(mesh), open_with)


def call_options(ctx: Context, *, most_s: float, extra: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Returns the keyword arguments that carry `ctx` along a stub's call: its metadata, and what is left of its deadline."""
    return {"metadata": (*ctx.to_metadata(), *extra), "timeout": ctx.remaining_s(most_s)}
