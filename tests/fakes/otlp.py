"""A collector: takes traces and metrics by OTLP over gRPC, as a real one does, and shows what it got."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from common.telemetry import TelemetrySettings
from tests.fakes.waiting import until

_KINDS = {"SPAN_KIND_SERVER": "server", "SPAN_KIND_CLIENT": "client", "SPAN_KIND_CONSUMER": "consumer"}


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    service: str
    proto: trace_pb2.Span

    @property
    def id(self) -> str:
        return self.proto.span_id.hex()

    @property
    def trace_id(self) -> str:
        return self.proto.trace_id.hex()

    @property
    def parent_id(self) -> str:
        return self.proto.parent_span_id.hex()

    @property
    def name(self) -> str:
        return self.proto.name

    @property
    def kind(self) -> str:
        return _KINDS.get(trace_pb2.Span.SpanKind.Name(self.proto.kind), "internal")

    @property
    def facts(self) -> dict[str, Any]:
        return {pair.key: _value(pair.value) for pair in self.proto.attributes}

    @property
    def failed(self) -> bool:
        return self.proto.status.code == trace_pb2.Status.STATUS_CODE_ERROR

    @property
    def label(self) -> str:
        """Who did what: what a test compares."""
        return f"{self.service}: {self.name} ({self.kind})"


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


class Collector:
    """What was exported so far."""

    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self.metric_requests: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def Export(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            self.requests.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()
        self.metric_requests.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()

    @property
    def spans(self) -> list[Span]:
        return list(self._spans())

    def _spans(self) -> Iterator[Span]:
        for request in self.requests:
            for resource in request.resource_spans:
                service = next(p.value.string_value for p in resource.resource.attributes if p.key == "service.name")
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield Span(service, span)

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def points(self, name: str) -> list[Any]:
        """Returns the data points of a metric in the last export of each process that has it."""
        latest: dict[str, list[Any]] = {}
        for request in self.metric_requests:
            for resource in request.resource_metrics:
                instance = str(resource.resource)
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    if metric.name == name:
                        latest[instance] = list(getattr(metric, metric.WhichOneof("data")).data_points)
        return [point for points in latest.values() for point in points]

    def texts(self) -> str:
        """Returns everything that arrived as one text, to be searched for what must not be in it."""
        return "\n".join(str(request) for request in (*self.requests, *self.metric_requests))

    async def whole_trace(self, trace_id: str, names: Sequence[str], timeout_s: float = 20.0) -> list[Span]:
        """Waits until a trace has spans of all these names, and parents for all but one of its spans; returns them."""

        def complete() -> list[Span]:
            spans = self.trace(trace_id)
            known = {span.id for span in spans}
            orphans = [span for span in spans if span.parent_id not in known]
            return spans if set(names) <= {span.name for span in spans} and len(orphans) == 1 else []

        try:
            return list(await until(complete, timeout_s))
        except AssertionError:
            raise AssertionError(f"not whole; there is\n{tree(self.trace(trace_id))}") from None


def tree(spans: Sequence[Span], facts: Callable[[Span], dict[str, Any]] = lambda span: {}) -> str:
    """Returns spans as an indented text, by time, with the facts asked for."""
    known = {span.id for span in spans}
    below: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda one: one.proto.start_time_unix_nano):
        below[span.parent_id if span.parent_id in known else ""].append(span)

    def lines(parent: str, depth: int) -> Iterator[str]:
        for span in below[parent]:
            took = (span.proto.end_time_unix_nano - span.proto.start_time_unix_nano) / 1e6
            shown = "".join(f" {name}={value}" for name, value in facts(span).items())
            yield f"{'  ' * depth}{span.label} {took:.1f} ms{' FAILED' if span.failed else ''}{shown}"
            yield from lines(span.id, depth + 1)

    return "\n".join(lines("", 0))


def path_to(spans: Sequence[Span], span: Span) -> list[str]:
    """Returns the labels from the root to a span."""
    by_id = {one.id: one for one in spans}
    labels = [span.label]
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        labels.insert(0, span.label)
    return labels


def only(spans: Sequence[Span], name: str, **facts: Any) -> Span:
    """Returns the one span of a name, and of these facts ("__" stands for a dot)."""
    wanted = {key.replace("__", "."): value for key, value in facts.items()}
    found = [span for span in spans if span.name == name and wanted.items() <= span.facts.items()]
    assert len(found) == 1, f"{len(found)} spans named {name} with {wanted} in\n{tree(spans)}"
    return found[0]


def settings_for(collector: Collector | str, **more: Any) -> TelemetrySettings:
    """Returns settings that export to a collector, or an address."""
    endpoint = collector if isinstance(collector, str) else collector.endpoint
    return TelemetrySettings(_env_file=None, **{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more})


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """Serves until the block ends."""
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)
