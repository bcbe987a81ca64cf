"""W3C trace context (https://www.w3.org/TR/trace-context/) in call metadata, in HTTP headers and beside stored work."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_FORMAT = TraceContextTextMapPropagator()
_KEYS = frozenset({"traceparent", "tracestate"})


def caller_of(headers: Iterable[tuple[str, str | bytes]]) -> Context:
    """Returns the context of the caller's span; one without a span where the headers name none."""
    found = {key: value for key, value in headers if key in _KEYS and isinstance(value, str)}
    return _FORMAT.extract(found, Context()) if found else Context()


def headers_of(span: Span) -> list[tuple[str, str]]:
    """Returns the metadata that makes `span` the parent of what a call does."""
    carrier: dict[str, str] = {}
    _FORMAT.inject(carrier, set_span_in_context(span, Context()))
    return list(carrier.items())


def current_traceparent() -> str:
    """Returns the current span as one text, to be kept with work that outlives the call; empty without a span."""
    carrier: dict[str, str] = {}
    _FORMAT.inject(carrier)
    return carrier.get("traceparent", "")


def traceparent_of(text: str) -> Context:
    """Returns the context of a kept span."""
    return caller_of([("traceparent", text)] if text else [])
