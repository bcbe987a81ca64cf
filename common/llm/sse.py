"""Reads the events of a chat completion from raw bytes.

Source: the chunk object of https://platform.openai.com/docs/api-reference/chat-streaming, and server-sent events of the HTML
standard as far as these servers use them: one `data:` line an event. What one read of the socket brought leaves as one delta.
"""

from __future__ import annotations

from typing import Any

import msgspec

_LONGEST_LINE_BYTES = 4 * 1024 * 1024
_DONE = b"[DONE]"


class BrokenStreamError(ValueError):
    """The bytes are no stream of chat completion chunks."""


class ReportedError(Exception):
    """The provider reports a failure inside the stream."""

    def __init__(self, body: Any) -> None:
        super().__init__("an error event")
        self.body = body


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """What is read of a chunk; msgspec skips the rest, and refuses what has another type."""

    choices: list[_Choice] | msgspec.UnsetType | None = msgspec.UNSET
    usage: Any = msgspec.UNSET
    x_groq: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    error: Any = None
    object: Any = None
    model: str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChunkReader:
    """Collects what a stream says beside its text.

    Attributes:
        deltas: Events that brought text: the estimate of output tokens where the provider counts none.
        finish_reason: Empty until the provider gives one.
        usage: The last usage sent; a provider that sends it twice is counted once.
        done: Whether the end of the stream was announced.
        alive: Events read so far, with text or without.
    """

    def __init__(self) -> None:
        self.deltas = 0
        self.finish_reason = ""
        self.model = ""
        self.usage: dict[str, Any] | None = None
        self.done = False
        self.alive = 0
        self._rest = b""

    @property
    def complete(self) -> bool:
        """Whether the stream may end here."""
        return self.done or bool(self.finish_reason)

    def feed(self, data: bytes) -> str:
        """Returns the text that `data` completes. Raises BrokenStreamError or ReportedError."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            raise BrokenStreamError("a line without an end")
        texts = []
        for line in lines:
            if line[:5] == b"data:":
                text = self._event(line[5:].strip())
                if text:
                    texts.append(text)
        self.deltas += len(texts)
        return texts[0] if len(texts) == 1 else "".join(texts)

    def _event(self, data: bytes) -> str | None:
        if data == _DONE:
            self.done = True
            return None
        try:
            chunk = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BrokenStreamError("an event that is no chunk") from error
        if chunk.usage or chunk.x_groq:
            self._count(chunk)
        if not chunk.choices:
            self._other(chunk)
            return None
        choice = chunk.choices[0]
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        if not self.alive:
            self.model = chunk.model or ""
        self.alive += 1
        return choice.delta.content

    def _count(self, chunk: _Chunk) -> None:
        usage = chunk.usage or (chunk.x_groq or {}).get("usage")
        if usage:
            self.usage = usage

    def _other(self, chunk: _Chunk) -> None:
        failure = chunk.error or (chunk.x_groq or {}).get("error")
        if failure:
            raise ReportedError(failure)
        told = (chunk.choices, chunk.usage, chunk.x_groq)
        if chunk.object == "error" or all(part is msgspec.UNSET for part in told):
            raise BrokenStreamError("an event that is no chunk")
