"""One span for every call made, and its parenthood told to the server.

A channel around the channel rather than grpc.aio's interceptors: those put an object of their own between a caller and its
stream, which costs on every message and answers `cancel` differently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import grpc
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from common.telemetry import Telemetry, active, headers_of


class TracedChannel(grpc.aio.Channel):
    """A channel whose calls are spans."""

    def __init__(self, inner: grpc.aio.Channel, live: Telemetry) -> None:
        self._inner = inner
        self._live = live

    def unary_unary(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._traced(method, self._inner.unary_unary(method, *arguments, **more))

    def unary_stream(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._traced(method, self._inner.unary_stream(method, *arguments, **more))

    def stream_unary(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._traced(method, self._inner.stream_unary(method, *arguments, **more))

    def stream_stream(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Returns the multi-callable of a method."""
        return self._traced(method, self._inner.stream_stream(method, *arguments, **more))

    def _traced(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        name = method.removeprefix("/")

        def call(*arguments: Any, metadata: Sequence[tuple[str, Any]] | None = None, **more: Any) -> Any:
            labels = {"rpc.system.name": "grpc", "rpc.method": name}
            span = self._live.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=labels)
            made = inner(*arguments, metadata=(*(metadata or ()), *headers_of(span)), **more)
            made.add_done_callback(lambda done: _end(span, done))
            return made

        return call

    async def close(self, grace: float | None = None) -> None:
        """Closes the channel."""
        await self._inner.close(grace)

    async def __aenter__(self) -> TracedChannel:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Returns the connectivity."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits until the connectivity is another one."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Waits until the channel is connected."""
        await self._inner.channel_ready()


def observed(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """Returns a channel whose calls are spans; `channel` itself where nothing is observed."""
    live = active()
    return channel if live is None else TracedChannel(channel, live)


def _end(span: Span, call: Any) -> None:
    code = _code_of(call)
    span.set_attribute("rpc.response.status_code", code)
    if code not in {"OK", "CANCELLED"}:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR, code))
    span.end()


def _code_of(call: Any) -> str:
    """Returns the status of a call that is done: its coroutine has nothing left to wait for."""
    if call.cancelled():
        return "CANCELLED"
    asking = call.code()
    try:
        asking.send(None)
    except StopIteration as answer:
        return str(answer.value.name)
    except asyncio.CancelledError:
        return "CANCELLED"
    finally:
        asking.close()
    return "UNKNOWN"
