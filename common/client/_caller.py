"""One way to call: the caller's identity and a deadline on every call, every failure a `MallaError`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import grpc
from malla.chat.v1 import chat_pb2_grpc
from malla.embedding.v1 import embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2_grpc
from malla.query.v1 import query_pb2_grpc, usage_pb2_grpc

from common.channel import call_options
from common.context import Context
from common.status import from_rpc_error

T = TypeVar("T")

DEADLINE_S = 30.0
"""Seconds a call may take where nothing else is said."""

STREAM_DEADLINE_S = 600.0
"""Seconds a stream may take: the longest the edge allows."""

UPLOAD_DEADLINE_S = 300.0
"""Seconds an upload may take."""

DEPENDENCY = "mesh"
"""What a caller is told cannot be reached."""


def keyed(request_id: str) -> str:
    """Returns an idempotency key, a new one where none is given.

    The channel itself makes a call again that ends in UNAVAILABLE, and the first time may have done its work.
    """
    return request_id or uuid4().hex


@dataclass(frozen=True)
class Caller:
    """Who calls, over which channel.

    Attributes:
        token: For the edge, which takes the tenant from it; empty inside the mesh.
        ctx: For whom a call inside the mesh is made; without one, each call has a context of its own.
    """

    channel: grpc.aio.Channel
    token: str = ""
    ctx: Context | None = None

    async def unary(self, method: Callable[..., Awaitable[T]], request: Any, timeout_s: float = DEADLINE_S) -> T:
        """Calls a method that answers once. `request` is a message, or an async iterator of messages."""
        try:
            return await method(request, **self._options(timeout_s))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, DEPENDENCY) from error

    async def stream(
        self, method: Callable[..., Any], request: Any, timeout_s: float = STREAM_DEADLINE_S
    ) -> AsyncGenerator[Any, None]:
        """Calls a method that answers with a stream. Leaving the iteration cancels the call."""
        call = method(request, **self._options(timeout_s))
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, DEPENDENCY) from error
        finally:
            call.cancel()

    def _options(self, timeout_s: float) -> dict[str, Any]:
        extra = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return call_options(self.ctx or Context(), most_s=timeout_s, extra=extra)


class Calls:
    """Base of the groups of calls: one caller, one stub a service."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._agents = chat_pb2_grpc.AgentServiceStub(caller.channel)
        self._chat = chat_pb2_grpc.ChatServiceStub(caller.channel)
        self._conversations = chat_pb2_grpc.ConversationServiceStub(caller.channel)
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(caller.channel)
        self._ingestion = ingestion_pb2_grpc.IngestionServiceStub(caller.channel)
        self._query = query_pb2_grpc.QueryServiceStub(caller.channel)
        self._usage = usage_pb2_grpc.UsageServiceStub(caller.channel)
