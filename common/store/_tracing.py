"""One span for every command of the record: its name, its collection, how it ended. Never a filter, never a row."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from common.telemetry import Telemetry, active, begin_span, is_traced

# Commands that are running; more than a pool has connections. One whose end was never told must not stay for ever.
_MOST_RUNNING = 1000


class CommandSpans(CommandListener):
    """Makes spans of the driver's events, for commands of a traced call or job; a worker's idle polling is none."""

    def __init__(self, live: Telemetry) -> None:
        self._live = live
        self._running: OrderedDict[tuple[int, Any], Span] = OrderedDict()

    def started(self, event: CommandStartedEvent) -> None:
        """Begins a span."""
        if not is_traced():
            return
        named = event.command.get(event.command_name)
        collection = named if isinstance(named, str) else str(event.command.get("collection", ""))
        facts: dict[str, str | int] = {
            "db.system.name": "mongodb",
            "db.namespace": event.database_name,
            "db.operation.name": event.command_name,
            "server.address": event.connection_id[0],
            "server.port": event.connection_id[1] or 0,
        }
        if collection:
            facts["db.collection.name"] = collection
        name = f"{event.command_name} {collection}".strip()
        self._running[_key(event)] = begin_span(self._live, name, facts, kind=SpanKind.CLIENT)
        if len(self._running) > _MOST_RUNNING:
            self._running.popitem(last=False)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Ends a span."""
        span = self._running.pop(_key(event), None)
        if span is not None:
            span.end()

    def failed(self, event: CommandFailedEvent) -> None:
        """Ends a span. The failure's message may quote a row; its code cannot."""
        span = self._running.pop(_key(event), None)
        if span is not None:
            code = str(event.failure.get("code", event.failure.get("errorLabels", ["failed"])[:1]))
            span.set_attribute("db.response.status_code", code)
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR, code))
            span.end()


def listeners() -> list[CommandListener]:
    """Returns what the driver tells of its commands; nobody where nothing is observed."""
    live = active()
    return [] if live is None else [CommandSpans(live)]


def _key(event: Any) -> tuple[int, Any]:
    return event.request_id, event.connection_id
