"""Reads the events of a chat completion from raw bytes.

Source: the chunk object of https://platform.openai.com/docs/api-reference/chat-streaming, and server-sent events of the HTML
standard as far as these servers use them: one `data:` line an event. What one read of the socket brought leaves as one delta.
"""

from __future__ import annotations

import json
from typing import Any

_LONGEST_LINE_BYTES = 4 * 1024 * 1024
_DONE = b"[DONE]"


class BrokenStreamError(ValueError):
    """The bytes are no stream of chat completion chunks."""


class ReportedError(Exception):
    """The provider reports a failure inside the stream."""

    def __init__(self, body: Any) -> None:
        super().__init__("an error event")
        self.body = body


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
            event = json.loads(data)
            choices = event.get("choices")
            if "usage" in event or "x_groq" in event:
                self._count(event)
            if not choices:
                self._other(event)
                return None
            choice = choices[0]
            if choice.get("finish_reason"):
                self.finish_reason = choice["finish_reason"]
            text = choice["delta"].get("content")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BrokenStreamError("an event that is no chunk") from error
        if not self.alive:
            self.model = str(event.get("model") or "")
        self.alive += 1
        if text is not None and not isinstance(text, str):
            raise BrokenStreamError("a delta that is no text")
        return text

    def _count(self, event: dict[str, Any]) -> None:
        usage = event.get("usage") or (event.get("x_groq") or {}).get("usage")
        if usage:
            self.usage = usage

    def _other(self, event: dict[str, Any]) -> None:
        failure = event.get("error") or (event.get("x_groq") or {}).get("error")
        if failure:
            raise ReportedError(failure)
        if event.get("object") == "error" or not ({"usage", "x_groq", "choices"} & event.keys()):
            raise BrokenStreamError("an event that is no chunk")
