"""A goodbye that arrives: a WebSocket that is closed for what its client sends is read on for a while, without being kept."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_QUIET_S = 0.5
_MOST_S = 10.0


class LingeringWebSocket(WebSocketsSansIOProtocol):
    """Uvicorn's protocol, but for what follows a frame that breaks the rules, such as one that is too large.

    Closing a connection while bytes wait to be read makes TCP reset it, and a reset destroys what was sent just before: the
    close code. So what still comes is read and thrown away until the client is silent, or has had time enough. RFC 9293, 3.6.1.
    """

    _lingers_until = 0.0  # for as long as nothing was wrong

    def data_received(self, data: bytes) -> None:
        """Takes what the client sends; nothing after the frame that broke the rules."""
        if self._lingers_until:
            self._wait()
        else:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Says why the socket is closed, and closes it once that can arrive."""
        sent = self.conn.close_sent
        if sent is not None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self.disconnected = True
        self.stop_keepalive()
        self._lingers_until = self.loop.time() + _MOST_S
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._wait()

    def _wait(self) -> None:
        """Sets the moment to close; that there is one keeps the end of the application from closing at once."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_at(min(self.loop.time() + _QUIET_S, self._lingers_until), self.transport.close)
