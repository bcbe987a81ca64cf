"""Channels: keepalive, message sizes, retries of calls that no server has seen, and the caller's context on each call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc

from common.context import Context

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


def open_channel(address: str, *, max_message_bytes: int = 8 * 1024 * 1024, tls: bool = False) -> grpc.aio.Channel:
    """Opens a channel to "host:port". The caller closes it.

    Args:
        address: Usually the mesh listener, which balances over replicas.
        max_message_bytes: Largest message, each way.
        tls: Whether the other end speaks TLS, as a public edge does.
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
    if tls:
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(), options=options)
    return grpc.aio.insecure_channel(address, options=options)


def call_options(ctx: Context, *, most_s: float, extra: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Returns the keyword arguments that carry `ctx` along a stub's call: its metadata, and what is left of its deadline."""
    return {"metadata": (*ctx.to_metadata(), *extra), "timeout": ctx.remaining_s(most_s)}
