"""Starts and stops the exporters."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING
from uuid import uuid4

from opentelemetry.metrics import Meter, NoOpMeter
from opentelemetry.trace import NoOpTracer, Tracer

from common.telemetry._metrics import Measures
from common.telemetry._settings import TelemetrySettings, export_env_file
from common.telemetry._switch import Telemetry, switch

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_log = logging.getLogger(__name__)

SHUTDOWN_S = 2.0
"""How long what is left is sent for; a collector that is away keeps no process from ending."""

_SCOPE = "malla"
_MOST_CHARACTERS = 256
_COMPLAIN_EVERY_S = 60.0


@contextmanager
def running(server: str, settings: TelemetrySettings | None = None) -> Iterator[None]:
    """Observes this process while the block runs, where a collector is configured; does nothing where none is.

    Args:
        server: Which part of the mesh this is; names the process unless OTEL_SERVICE_NAME does.
        settings: Read from the environment and `.env` unless given.
    """
    if settings is None:
        export_env_file()
        settings = TelemetrySettings()
    if not settings.is_spoken:
        _log.warning(
            "telemetry is off: OTEL_EXPORTER_OTLP_PROTOCOL is '%s', and only grpc is spoken here", settings.otlp_protocol
        )
    if not settings.traces_endpoint and not settings.metrics_endpoint:
        yield
        return
    ends: list[Callable[[], object]] = []
    switch(_started(server, settings, ends))
    try:
        yield
    finally:
        switch(None)
        _end(ends)


def _started(server: str, settings: TelemetrySettings, ends: list[Callable[[], object]]) -> Telemetry:
    # The SDK is imported here: a process that is not observed does not pay for it.
    from opentelemetry.sdk.resources import Resource

    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").addFilter(_SELDOM)
    resource = Resource.create(
        {
            "service.name": settings.otel_service_name or settings.service_name(server),
            "service.namespace": "malla",
            "service.version": metadata.version("malla"),
            "service.instance.id": uuid4().hex,
        }
    )
    meter: Meter = NoOpMeter(_SCOPE)
    if settings.metrics_endpoint:
        meter = _meter(settings.metrics_endpoint, resource, ends)
    tracer: Tracer = NoOpTracer()
    if settings.traces_endpoint:
        tracer = _tracer(settings.traces_endpoint, resource, ends)
    return Telemetry(tracer, meter, Measures.of(meter, tenants=settings.metrics_tenants))


def _tracer(endpoint: str, resource: Resource, ends: list[Callable[[], object]]) -> Tracer:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    limits = SpanLimits(max_attribute_length=_MOST_CHARACTERS)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    ends.append(provider.shutdown)
    return provider.get_tracer(_SCOPE)


def _meter(endpoint: str, resource: Resource, ends: list[Callable[[], object]]) -> Meter:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint))
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    ends.append(provider.shutdown)
    return provider.get_meter(_SCOPE)


def _end(ends: list[Callable[[], object]]) -> None:
    # In threads: an exporter that tries again can be asked to stop, but not made to.
    threads = [threading.Thread(target=_quietly, args=(end,), name="telemetry-end", daemon=True) for end in ends]
    until = time.monotonic() + SHUTDOWN_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _quietly(end: Callable[[], object]) -> None:
    try:
        end()
    except Exception as error:  # noqa: BLE001  # the process ends; what could not be sent is lost
        _log.debug("telemetry did not end cleanly: %s", type(error).__name__)


class _Seldom(logging.Filter):
    """A collector that is away is worth a line now and then, not one every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Whether the line is let through."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _COMPLAIN_EVERY_S
        return True


_SELDOM = _Seldom()
