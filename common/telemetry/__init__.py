"""Traces and metrics by OpenTelemetry, sent by OTLP. Off, at no cost, where no endpoint is configured."""

from common.telemetry._export import SHUTDOWN_S, running
from common.telemetry._metrics import Measures
from common.telemetry._observe import Reading, observe
from common.telemetry._propagation import caller_of, current_traceparent, headers_of, traceparent_of
from common.telemetry._settings import TelemetrySettings
from common.telemetry._spans import Facts, SpanHandle, begin_span, failed, is_traced, span, trace_ids
from common.telemetry._switch import Telemetry, active

__all__ = [
    "SHUTDOWN_S",
    "Facts",
    "Measures",
    "Reading",
    "SpanHandle",
    "Telemetry",
    "TelemetrySettings",
    "active",
    "begin_span",
    "caller_of",
    "current_traceparent",
    "failed",
    "headers_of",
    "is_traced",
    "observe",
    "running",
    "span",
    "trace_ids",
    "traceparent_of",
]
