"""Wraps a gRPC method handler of any of the four call shapes in one pair of functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

Guard = Callable[[Any], AbstractAsyncContextManager[None]]
RequestHook = Callable[[Any], Any]
ResponseHook = Callable[[Any], None]


class Undecodable:
    """Stands for bytes that are no message of the method, so that `on_request` can say so: gRPC itself would answer UNKNOWN."""


def guarded(handler: Any, guard: Guard, on_request: RequestHook, on_response: ResponseHook) -> Any:
    """Returns a handler that runs inside `guard(rpc)` and passes what the caller sends through `on_request`.

    Args:
        handler: A `grpc.RpcMethodHandler`.
        guard: Given the call's context, an async context manager around the whole call.
        on_request: Given each request message, or Undecodable, returns the message to pass on, or raises.
        on_response: Given the response of a call that has only one.
    """
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    def incoming(request: Any) -> Any:
        return _each(request, on_request) if handler.request_streaming else on_request(request)

    async def unary(request: Any, rpc: Any) -> Any:
        async with guard(rpc):
            awaited: Awaitable[Any] = behaviour(incoming(request), rpc)
            response = await awaited
            on_response(response)
            return response

    # A coroutine that writes, not a generator: a cancelled call is then cancelled here, inside the guard, also while it waits
    # for a slow reader; a generator would be closed later, from outside.
    async def stream(request: Any, rpc: Any) -> None:
        async with guard(rpc), aclosing(behaviour(incoming(request), rpc)) as responses:
            async for response in responses:
                await rpc.write(response)

    shape = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    wrapped = stream if handler.response_streaming else unary
    return shape(wrapped, _decoder(handler.request_deserializer), handler.response_serializer)


def _decoder(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return Undecodable()

    return decode


async def _each(requests: AsyncIterator[Any], on_request: RequestHook) -> AsyncIterator[Any]:
    async for request in requests:
        yield on_request(request)
