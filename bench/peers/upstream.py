"""A fast OpenAI-compatible upstream on loopback, to measure what relaying its answers costs.

Run: python bench/peers/upstream.py PORT [PAUSE_MS]    every answer has 200 tokens, PAUSE_MS apart (0: as fast as it goes)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

TOKENS = 200
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return _chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


def _delta(text: str) -> bytes:
    return _event([{"index": 0, "delta": {"content": text}, "finish_reason": None}])


_END = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _event(
    [], usage={"prompt_tokens": 100, "completion_tokens": TOKENS, "total_tokens": 100 + TOKENS}
)
_LIST = json.dumps({"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "bench"}]}).encode()
_MODELS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_LIST), _LIST)
_DONE = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause_s: float) -> None:
    """Answers requests on one connection until it is closed. The first token carries the time it was sent, for the latency."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            if head.startswith(b"GET"):
                writer.write(_MODELS)
                continue
            writer.write(_HEAD)
            for number in range(TOKENS):
                writer.write(_delta(f"t{time.time()} " if number == 0 else f"token{number} "))
                if pause_s:
                    await asyncio.sleep(pause_s)
                elif number % 8 == 0:
                    await writer.drain()
                    await asyncio.sleep(0)
            writer.write(_END + _DONE)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def main(port: int, pause_ms: float) -> None:
    """Serves until killed."""
    server = await asyncio.start_server(lambda r, w: answer(r, w, pause_ms / 1000), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
