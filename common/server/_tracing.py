"""One span and one measurement for every call served (OpenTelemetry's semantic conventions for gRPC)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from common.server._handlers import Guard
from common.telemetry import Telemetry, active, caller_of

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
# What the conventions call a server's failure; the other codes are the caller's doing or wish.
_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


def observed(method: str, guard: Guard, *, streams: bool) -> Guard:
    """Returns a guard that is a span around `guard`; `guard` itself where nothing is observed.

    Args:
        method: As gRPC names it, "/package.Service/Method".
        guard: What a call passes; its context, made inside, finds the span as the current one.
        streams: Whether the method answers with a stream.
    """
    live = active()
    if live is None:
        return guard
    return lambda rpc: _observed(live, method.removeprefix("/"), guard, rpc, streams)


@asynccontextmanager
async def _observed(live: Telemetry, method: str, guard: Guard, rpc: Any, streams: bool) -> AsyncIterator[None]:
    metadata = tuple(rpc.invocation_metadata() or ())
    labels = {"rpc.system.name": "grpc", "rpc.method": method}
    span = live.tracer.start_span(method, context=caller_of(metadata), kind=SpanKind.SERVER, attributes=labels)
    _identify(span, dict(metadata), rpc.time_remaining())
    token = attach(trace.set_span_in_context(span))
    started = time.perf_counter()
    if streams:
        live.measures.active_streams.add(1, {"rpc.method": method})
    outcome = "OK"
    try:
        async with guard(rpc):
            yield
    except asyncio.CancelledError:
        outcome = "DEADLINE_EXCEEDED" if _is_over(rpc) else "CANCELLED"
        raise
    except BaseException:
        outcome = _outcome(rpc)
        raise
    finally:
        detach(token)
        if streams:
            live.measures.active_streams.add(-1, {"rpc.method": method})
        tenant = live.measures.tenants.of(str(dict(metadata).get("x-tenant-id", "")))
        labels = {**labels, "rpc.response.status_code": outcome, **tenant}
        live.measures.rpc_duration.record(time.perf_counter() - started, labels)
        _end(span, outcome)


def _identify(span: Span, metadata: Mapping[str, Any], remaining_s: float | None) -> None:
    for key, name in (("x-request-id", "malla.request_id"), ("x-tenant-id", "malla.tenant_id")):
        if metadata.get(key):
            span.set_attribute(name, metadata[key])
    if remaining_s is not None:
        span.set_attribute("malla.deadline_ms", round(remaining_s * 1000))


def _end(span: Span, outcome: str) -> None:
    span.set_attribute("rpc.response.status_code", outcome)
    if outcome in _FAILURES:
        span.set_attribute("error.type", outcome)
        span.set_status(Status(StatusCode.ERROR, outcome))
    span.end()


def _is_over(rpc: Any) -> bool:
    remaining_s = rpc.time_remaining()
    return remaining_s is not None and remaining_s <= 0


def _outcome(rpc: Any) -> str:
    code = rpc.code()
    return _NAMES.get(code.value[0] if isinstance(code, grpc.StatusCode) else code, "UNKNOWN")
