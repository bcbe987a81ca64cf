"""Spans of our own code. Names and numbers only: a span never holds a text, a prompt, a token or a secret.

Nothing is made of an exception but its reason: a message may hold what a caller wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from common.telemetry._switch import Telemetry, active

Facts = Mapping[str, str | bool | int | float]


class SpanHandle:
    """What a block may say about its span. This one says it to nobody: observation is off."""

    def set(self, name: str, value: str | bool | int | float) -> None:
        """Notes a fact."""

    def __enter__(self) -> SpanHandle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Ends the span."""


_NOBODY = SpanHandle()


class _Live(SpanHandle):
    def __init__(self, own: Span) -> None:
        self._span = own
        self._token: Token[Context] | None = None

    def set(self, name: str, value: str | bool | int | float) -> None:
        self._span.set_attribute(name, value)

    def __enter__(self) -> SpanHandle:
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._token is not None:
            detach(self._token)
        if error is not None:
            failed(self._span, error)
        self._span.end()


def span(
    name: str, facts: Facts | None = None, *, kind: SpanKind = SpanKind.INTERNAL, parent: Context | None = None
) -> SpanHandle:
    """Returns a block whose work is one span, the child of the current one or of `parent`.

    For coroutines and plain code; the block must be left in the task that entered it, so not around a generator's `yield`.
    """
    live = active()
    if live is None:
        return _NOBODY
    return _Live(live.tracer.start_span(name, context=parent, kind=kind, attributes=dict(facts or {})))


def begin_span(live: Telemetry, name: str, facts: Facts, *, kind: SpanKind = SpanKind.INTERNAL) -> Span:
    """Begins a span that never becomes the current one; whoever begins it ends it."""
    return live.tracer.start_span(name, kind=kind, attributes=dict(facts))


def failed(own: Span, error: BaseException) -> None:
    """Notes how a span's work failed: by the error's stable reason, or its class. Work that was called off did not fail."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        own.set_attribute("malla.cancelled", True)
        return
    reason = str(getattr(error, "reason", "") or type(error).__name__)
    own.set_attribute("error.type", reason)
    own.set_status(Status(StatusCode.ERROR, reason))


def trace_ids() -> tuple[str, str] | None:
    """Returns trace and span identifier of the current span as hexadecimal digits; None without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def is_traced() -> bool:
    """Whether there is a current span to be a child of."""
    return trace.get_current_span().get_span_context().is_valid
