"""Every open socket: who may open one, how many there are, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from malla.chat.v1 import chat_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from common.channel import open_channel
from common.errors import InvalidArgumentError, MallaError, OverloadedError, UnavailableError
from common.server import MeshKey, Revocations, check_scope
from common.tasks import stop
from common.violations import violations_of
from services.gateway.chat.socket import ChatSocket
from services.gateway.chat.turns import Caller, Turns
from services.gateway.errors import refusal, upgrade_required
from services.gateway.settings import GatewaySettings

CHAT_PATH = "/api/v1/groq/chat/stream/{session_id}/{id_agente}"
SUBPROTOCOL = "malla.v1"
"""What a client that offers subprotocols is answered, as a browser's must be that brings its token as one."""

_METHOD = "/malla.chat.v1.ChatService/StreamChat"
_NUMBER = re.compile("[0-9]{1,10}")
_INT32_MOST = 2**31 - 1
_RETRY_AFTER_S = 5.0
_CUT_S = 2.0


class ChatSockets:
    """The sockets of one process, over one channel to the mesh."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._mesh_key = MeshKey(settings.mesh_secret())
        self._revocations = Revocations(settings.revoked_tokens)
        self._turns: Turns | None = None
        self._open: set[ChatSocket] = set()
        self._none_open = asyncio.Event()
        self._draining = False

    @property
    def routes(self) -> list[BaseRoute]:
        """The socket, and the answer for those who ask for it without an upgrade."""
        return [WebSocketRoute(CHAT_PATH, self._endpoint), Route(CHAT_PATH, _no_upgrade)]

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: ASGIApp) -> AsyncIterator[None]:
        """Holds the channel open. A channel belongs to the loop it was opened in, so not before there is one."""
        async with open_channel(self._settings.mesh_address, mesh=self._settings.mesh_tls()) as channel:
            self._turns = Turns(channel, self._settings.turn_timeout_s)
            following = asyncio.create_task(self._revocations.follow())
            try:
                yield
            finally:
                await stop([following])

    async def drain(self, grace_s: float) -> None:
        """Lets running turns end within the grace time, and closes every socket."""
        self._draining = True
        for socket in self._open:
            socket.drain()
        await self._wait(grace_s)
        for socket in self._open:
            socket.cut()
        await self._wait(_CUT_S)

    async def _wait(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._open:
                    self._none_open.clear()
                    await self._none_open.wait()

    async def _endpoint(self, websocket: WebSocket) -> None:
        with contextlib.suppress(WebSocketDisconnect):  # left before it was answered
            try:
                socket = self._admit(websocket)
            except MallaError as error:
                await websocket.send_denial_response(refusal(websocket, error))
            else:
                await self._hold(socket, websocket)

    async def _hold(self, socket: ChatSocket, websocket: WebSocket) -> None:
        self._open.add(socket)
        try:
            await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None)
            await socket.serve()
        finally:
            self._open.remove(socket)
            if not self._open:
                self._none_open.set()

    def _admit(self, websocket: WebSocket) -> ChatSocket:
        """Returns the socket of a handshake. Raises for one that is refused."""
        self._mesh_key.check(websocket.headers.items())
        conversation = _conversation(websocket)
        caller = Caller.of(websocket.headers, conversation[0])
        check_scope(_METHOD, caller.context(0))
        if self._draining or self._turns is None:
            raise UnavailableError("gateway")
        if len(self._open) >= self._settings.websocket_connections:
            raise OverloadedError("connection", retry_after_s=_RETRY_AFTER_S)
        return ChatSocket(
            websocket,
            self._turns,
            caller,
            conversation,
            self._revocations,
            queue=self._settings.websocket_queue,
            send_timeout_s=self._settings.websocket_send_timeout_s,
        )


def _conversation(websocket: WebSocket) -> tuple[str, int]:
    """Returns session and agent of the path. Raises InvalidArgumentError where the contract's rules for them are broken."""
    session_id, id_agente = websocket.path_params["session_id"], websocket.path_params["id_agente"]
    if not _NUMBER.fullmatch(id_agente) or int(id_agente) > _INT32_MOST:
        raise InvalidArgumentError([("id_agente", "must be a number of at most 32 bits")])
    request = chat_pb2.ChatRequest(session_id=session_id, id_agente=int(id_agente), mensaje="-")
    violations = list(violations_of(request))
    if violations:
        raise InvalidArgumentError(violations)
    return request.session_id, request.id_agente


async def _no_upgrade(request: Request) -> Response:
    return upgrade_required(request)
