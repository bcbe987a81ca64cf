"""A service with one method of each of the four call shapes, whose behaviour a test supplies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from malla.embedding.v1 import embedding_pb2 as pb

from common.server import GrpcService
from common.settings import ServerSettings
from tests.fakes.servers import channel_to

_SERVICE = "malla.test.v1.Shapes"
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")

Behaviour = Callable[[Any, Any], Any]


def _add(behaviours: dict[str, Behaviour], server: Any) -> None:
    handlers = {
        shape: getattr(grpc, f"{shape}_rpc_method_handler")(
            behaviour, pb.EmbedRequest.FromString, pb.EmbeddingResponse.SerializeToString
        )
        for shape, behaviour in behaviours.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))


@asynccontextmanager
async def shapes(behaviours: dict[str, Behaviour]) -> AsyncIterator[grpc.aio.Channel]:
    """Serves the behaviours, by shape."""
    service = GrpcService(_SERVICE, behaviours, _add)
    async with channel_to(ServerSettings(_env_file=None, port=0), [service]) as channel:
        yield channel


def call(channel: grpc.aio.Channel, shape: str, request: pb.EmbedRequest, metadata: Any = None) -> Any:
    """Calls the method of a shape, with one message where it takes many."""
    multi = getattr(channel, shape)(f"/{_SERVICE}/{shape}", pb.EmbedRequest.SerializeToString, pb.EmbeddingResponse.FromString)
    return multi(iter([request]) if shape.startswith("stream") else request, metadata=metadata, timeout=10)


async def answer_of(shape: str, call: Any) -> Any:
    """Returns the one response of a call, or the last of a stream."""
    if shape.endswith("unary"):
        return await call
    responses = [response async for response in call]
    return responses[-1]


def raising(shape: str, error: BaseException, *, after: int = 0) -> Behaviour:
    """Returns a behaviour that raises `error`, a streaming one after so many responses.

    What is sent is read first: of a stream that is refused while it is sent, gRPC's client tells "Internal error from Core" one
    time in a thousand, instead of the refusal.
    """

    async def read(request: Any) -> None:
        if shape.startswith("stream"):
            async for _ in request:
                pass

    async def unary(request: Any, rpc: Any) -> Any:
        await read(request)
        raise error

    async def stream(request: Any, rpc: Any) -> AsyncIterator[Any]:
        await read(request)
        for _ in range(after):
            yield pb.EmbeddingResponse(message="before")
        raise error

    return unary if shape.endswith("unary") else stream


def reading(shape: str) -> Behaviour:
    """Returns a behaviour that reads all it is sent and answers with the texts, joined."""

    async def texts(request: Any) -> str:
        if shape.startswith("unary"):
            return " ".join(request.texts)
        return " ".join([text async for one in request for text in one.texts])

    async def unary(request: Any, rpc: Any) -> Any:
        return pb.EmbeddingResponse(message=await texts(request))

    async def stream(request: Any, rpc: Any) -> AsyncIterator[Any]:
        yield pb.EmbeddingResponse(message=await texts(request))

    return unary if shape.endswith("unary") else stream
