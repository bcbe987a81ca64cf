"""One turn: the call through the mesh, and its events as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import grpc
from malla.chat.v1 import chat_pb2, chat_pb2_grpc
from opentelemetry.context import Context as TraceContext
from opentelemetry.trace import SpanKind

from common.channel import call_options
from common.context import Context, header_of, scopes_of
from common.errors import InternalError, MallaError, UnauthenticatedError, UnavailableError
from common.server import Token
from common.status import error_response_of, from_rpc_error
from common.telemetry import SpanHandle, caller_of, span
from services.gateway.chat.frames import error_text, event_text

Send = Callable[[str], Awaitable[None]]

_SERVER = "query server"
_LAST = frozenset({"done", "error"})
_STATUS_S = 1.0
# Their text is for a log: it may hold what an uncaught exception said.
_UNTOLD = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS})
_REQUEST_ID_CHARACTERS = 100  # the edge allows 128; the number of the turn goes behind


@dataclass(frozen=True)
class Caller:
    """For whom a socket's turns run: what the edge read from the token.

    Attributes:
        metadata: x-tenant-id, x-tier, x-scope, x-request-id and x-session-id.
        extra: What the context does not hold: x-user-id, and x-forwarded-for for the audit log.
        token: How long all of it is so.
        trace: The span the socket was opened in.
    """

    metadata: tuple[tuple[str, str], ...]
    extra: tuple[tuple[str, str], ...]
    token: Token
    trace: TraceContext = field(default_factory=TraceContext)

    @classmethod
    def of(cls, headers: Mapping[str, str], session_id: str) -> Caller:
        """Reads the headers the edge set. Raises UnauthenticatedError without a tenant: the edge was not asked."""
        if not headers.get("x-tenant-id"):
            raise UnauthenticatedError
        known = {name: headers.get(name, "") for name in ("x-tenant-id", "x-tier", "x-request-id")}
        if "x-scope" in headers:  # also where it grants nothing: a call without it would be taken for a service's own
            known["x-scope"] = header_of(scopes_of(headers["x-scope"]))
        # The last address is the one the edge saw; those before it are what the caller claims.
        client = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        extra = {"x-user-id": headers.get("x-user-id", ""), "x-forwarded-for": client}
        metadata = _sendable({**known, "x-session-id": session_id})
        return cls(metadata, _sendable(extra), Token.of(headers), caller_of(headers.items()))

    def span(self, turn: int) -> SpanHandle:
        """Returns the span of a turn, a child of the socket's."""
        return span("chat turn", {"malla.turn": turn}, kind=SpanKind.SERVER, parent=self.trace)

    def context(self, turn: int) -> Context:
        """Returns the context of a turn; its request id is the socket's and the turn's number."""
        ctx = Context.from_metadata(self.metadata)
        ctx.request_id = f"{ctx.request_id[:_REQUEST_ID_CHARACTERS]}-{turn}"
        return ctx


def _sendable(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Returns what call metadata can hold: a subject may be any text, and one header must not fail the call."""
    return tuple((name, value) for name, value in values.items() if value and value.isascii() and value.isprintable())


class Turns:
    """Runs turns over one channel."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = chat_pb2_grpc.ChatServiceStub(channel)
        self._timeout_s = timeout_s

    async def run(self, request: chat_pb2.ChatRequest, ctx: Context, caller: Caller, send: Send) -> None:
        """Sends every event of a turn, the last of which is `done` or `error`, whatever happens to the call.

        The next event is asked for when the last was sent, so a client that reads slowly slows the model. Cancelling this
        cancels the call.
        """
        # The channel sends a call again that no server answered: with a key that makes no second turn.
        request.request_id = request.request_id or uuid4().hex
        call = self._stub.StreamChat(request, **call_options(ctx, most_s=self._timeout_s, extra=caller.extra))
        sequence, ended = 0, False
        failure: MallaError = UnavailableError(_SERVER)
        try:
            async for event in call:
                sequence, ended = event.sequence, event.WhichOneof("event") in _LAST
                if ended:
                    await _status_of(call)
                await send(event_text(event))
        except grpc.aio.AioRpcError as error:
            failure = _failure_of(error, ctx)
        finally:
            call.cancel()
        if not ended:
            await send(error_text(failure, sequence + 1))


async def _status_of(call: grpc.aio.Call) -> None:
    """Waits for the end of a call before its last event is told: a client may close with it, and so cancel an answered call."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_STATUS_S):
            await call.code()


def _failure_of(error: grpc.aio.AioRpcError, ctx: Context) -> MallaError:
    if error.code() in _UNTOLD and error_response_of(error).error is None:
        return InternalError(f"The server failed. Try again; quote the request id {ctx.request_id} if it keeps failing.")
    return from_rpc_error(error, _SERVER)
