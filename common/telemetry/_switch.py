"""Whether this process is observed, and by what: one for a process, as OpenTelemetry's own providers are."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.metrics import Meter
from opentelemetry.trace import Tracer

from common.telemetry._metrics import Measures


@dataclass(frozen=True)
class Telemetry:
    """What spans and measurements are made with."""

    tracer: Tracer
    meter: Meter
    measures: Measures


_active: Telemetry | None = None


def active() -> Telemetry | None:
    """Returns what to observe with; None where nothing is observed."""
    return _active


def switch(telemetry: Telemetry | None) -> None:
    """Turns observation on or off. What was opened before, such as a channel, stays as it was opened."""
    global _active  # noqa: PLW0603  # the one switch
    _active = telemetry
