"""The client of the edge."""

from __future__ import annotations

from typing import Self

from common.channel import open_channel
from common.client._agents import AgentCalls
from common.client._caller import Caller
from common.client._chat import ChatCalls
from common.client._collections import CollectionCalls
from common.client._conversations import ConversationCalls
from common.client._documents import DocumentCalls
from common.client._jobs import JobCalls
from common.client._queries import QueryCalls
from common.client._usage import UsageCalls
from common.context import Context
from common.errors import InvalidArgumentError


class MallaClient(AgentCalls, ChatCalls, CollectionCalls, ConversationCalls, DocumentCalls, JobCalls, QueryCalls, UsageCalls):
    """Calls Malla over gRPC.

        async with MallaClient("127.0.0.1:8080", token) as malla:
            async for event in malla.stream_query("manual", "¿Qué incluye el plan?"):
                ...

    Every call has a deadline, is made again while no server has seen it, and raises a `MallaError` on failure. One client may
    be used by many tasks at once; it holds one connection.

    Args:
        address: "host:port" of the edge, or of the mesh listener.
        token: For the edge, as it was read: white space around it is not part of it. Empty inside the mesh.
        tls: Whether the edge speaks TLS.
        ctx: Inside the mesh: for whom calls are made, and until when.

    Raises InvalidArgumentError for a token that no header can carry.
    """

    def __init__(self, address: str, token: str = "", *, tls: bool = False, ctx: Context | None = None) -> None:
        token = token.strip()
        if not (token.isascii() and token.isprintable()):
            raise InvalidArgumentError([("token", "must be as `malla token create` printed it")])  # never quoted
        self._channel = open_channel(address, tls=tls)
        super().__init__(Caller(self._channel, token, ctx))

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
