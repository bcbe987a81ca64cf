"""An OpenAI-compatible HTTP server on real sockets that fails in the ways real ones do, as a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import string
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.llm import DEFAULT_MODEL, Generation, GenerationEnd, LlmSettings, Message, Stream

USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 4}}
_POLL_S = 0.002
WORDS = ("Hola", ", ", "mundo ✓")


@dataclass(frozen=True)
class Act:
    """What to answer one request with.

    Attributes:
        usage: How often to send the usage: "usage" (as OpenAI), "x_groq" (as Groq), "both" or "never".
        one_write: All events in one write of the socket.
        pause_s: Between two events.
        hang: "headers", "first", "next" or "end" (of the body): says nothing more from there on.
        cut_after: Drops the connection after so many deltas.
        raw: Bytes to send in place of the events.
        split: Sends the body byte by byte so that events and characters are cut apart.
        gate: Says nothing before it is set.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    words: Sequence[str] = WORDS
    usage: str = "usage"
    finish: str | None = "stop"
    done: bool = True
    model: str = ""
    one_write: bool = False
    pause_s: float = 0.0
    hang: str = ""
    cut_after: int | None = None
    raw: bytes | None = None
    split: bool = False
    gate: asyncio.Event | None = None


@dataclass
class Seen:
    """One request as it came, and when its client left (time.monotonic, None while it stays)."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    left_at: float | None = None


class Upstream:
    """Answers each request with the next act, and with `default` when there is none."""

    def __init__(self) -> None:
        self.default = Act()
        self.seen: list[Seen] = []
        self.models: list[dict[str, Any]] = [
            {"id": "llama-3.1-8b-instant", "object": "model", "created": 1, "owned_by": "Meta"}
        ]
        self.models_status = 200
        self.list_of_models: Any = ...  # what is answered in place of a list of `models`
        self.missing: set[str] = set()
        self.connections = 0
        self._acts: deque[Act] = deque()
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def chats(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.endswith("/chat/completions")]

    def then(self, *acts: Act) -> None:
        """Adds acts to the queue."""
        self._acts.extend(acts)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._handlers:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        self.connections += 1
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = Seen(head.split()[1], headers, json.loads(data) if data else {})
        self.seen.append(seen)
        if seen.path.endswith("/models"):
            listed = {"object": "list", "data": self.models} if self.list_of_models is ... else self.list_of_models
            _whole(writer, self.models_status, {}, listed)
            return True
        if seen.body.get("model") in self.missing:
            _whole(writer, 404, {}, {"error": {"message": "The model does not exist", "code": "model_not_found"}})
            return True
        return await self._chat(self._acts.popleft() if self._acts else self.default, seen, reader, writer)

    async def _chat(self, act: Act, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if act.status != 200:
            _whole(writer, act.status, act.headers, act.body)
            return True
        leaving = asyncio.ensure_future(_left(reader))
        telling = asyncio.ensure_future(_tell(act, seen, writer))
        await asyncio.wait({leaving, telling}, return_when=asyncio.FIRST_COMPLETED)
        cut_off = telling.done() and isinstance(telling.exception(), ConnectionError)
        if cut_off or (leaving.done() and not telling.done()):
            seen.left_at = time.monotonic()
        for task in (leaving, telling):
            task.cancel()
        kept = await asyncio.gather(leaving, telling, return_exceptions=True)
        return kept[1] is True


async def _left(reader: asyncio.StreamReader) -> None:
    # Not a read: it would take the first byte of the next request.
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110  # a StreamReader has no event
        await asyncio.sleep(_POLL_S)


async def _tell(act: Act, seen: Seen, writer: asyncio.StreamWriter) -> bool:
    if act.hang == "headers":
        await asyncio.Event().wait()
    if act.gate is not None:
        await act.gate.wait()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    pieces = [act.raw] if act.raw is not None else list(_events(act, act.model or seen.body["model"]))
    if act.one_write:
        pieces = [b"".join(pieces)]
    if act.split:
        pieces = [bytes([byte]) for byte in b"".join(pieces)]
    for number, piece in enumerate(pieces):
        if act.hang == "first" or (act.hang == "next" and number > 0):
            await asyncio.Event().wait()
        if act.cut_after is not None and number == act.cut_after:
            writer.transport.abort()
            return False
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        if act.pause_s:
            await asyncio.sleep(act.pause_s)
    if act.hang == "end":
        await asyncio.Event().wait()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _events(act: Act, model: str) -> Iterator[bytes]:
    for word in act.words:
        yield _event(model, {"content": word})
    last: dict[str, Any] = {"finish_reason": act.finish}
    if act.usage in ("x_groq", "both"):
        last["x_groq"] = {"id": "req_1", "usage": USAGE}
    if act.usage == "both":
        last["usage"] = USAGE
    yield _event(model, {}, **last)
    if act.usage in ("usage", "both"):
        yield b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [], "usage": USAGE}).encode() + b"\n\n"
    if act.done:
        yield b"data: [DONE]\n\n"


def _event(model: str, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    row = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        **more,
    }
    return b"data: " + json.dumps(row, ensure_ascii=False).encode() + b"\n\n"


def _whole(writer: asyncio.StreamWriter, status: int, headers: dict[str, str], body: Any) -> None:
    data = json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + data)


def made_key() -> str:
    """Returns a key of Groq's shape that opens nothing."""
    return "_".join(("gs" + "k", "".join(random.choices(string.ascii_letters, k=40))))


def settings_for(upstream: Upstream | None, **more: Any) -> LlmSettings:
    """Returns settings with Groq at an upstream and nothing from the environment; quick to give up."""
    groq: dict[str, Any] = {"groq_api_key": None}
    if upstream is not None:
        groq = {"groq_api_key": made_key(), "groq_base_url": upstream.url}
    plain: dict[str, Any] = {
        "groq_model": DEFAULT_MODEL,
        "groq_timeout_s": 5.0,
        "openai_api_key": None,
        "openai_base_url": "",
        "openai_model": "",
        "ollama_base_url": "",
        "ollama_model": "",
        "llm_fallback": "",
        "llm_idle_timeout_s": 5.0,
        "llm_retries": 0,
        "llm_retry_base_s": 0.001,
    }
    return LlmSettings(_env_file=None, **{**plain, **groq, **more})


def ask(model: str = "", **more: Any) -> Generation:
    """Returns a request."""
    return Generation(model, [Message("user", "¿Qué tal?")], **more)


async def told(stream: Stream) -> tuple[list[str], GenerationEnd]:
    """Reads a stream to its end."""
    async with contextlib.aclosing(stream) as pieces:
        *deltas, end = [piece async for piece in pieces]
    return deltas, end


@contextlib.asynccontextmanager
async def running_upstream() -> AsyncIterator[Upstream]:
    """Starts an upstream and stops it."""
    upstream = Upstream()
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


@contextlib.contextmanager
def upstream_beside() -> Iterator[Upstream]:
    """Starts an upstream in a thread of its own: it answers while the test waits for something else."""
    loop, upstream = asyncio.new_event_loop(), Upstream()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(upstream.start(), loop).result(10)
        yield upstream
        asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
