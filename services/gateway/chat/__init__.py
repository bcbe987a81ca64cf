"""Chat over a WebSocket: text frames of JSON in, the events of StreamChat out, many turns a socket."""

from services.gateway.chat.sockets import CHAT_PATH, SUBPROTOCOL, ChatSockets

__all__ = ["CHAT_PATH", "SUBPROTOCOL", "ChatSockets"]
