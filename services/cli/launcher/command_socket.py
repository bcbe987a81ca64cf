"""How a command asks the running supervisor for something: a socket in the data dir, one JSON object a line both ways."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Answer = Callable[[Message], AsyncIterator[Message]]
"""Given what is asked, yields what is told."""

_NAME = "supervisor.sock"


@contextmanager
def _address(data_dir: Path) -> Iterator[str]:
    """Gives the socket a short path: a socket's may have 107 bytes, a data dir's any number."""
    folder = os.open(data_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{_NAME}"
    finally:
        os.close(folder)


@asynccontextmanager
async def answering(data_dir: Path, answer: Answer) -> AsyncIterator[None]:
    """Answers what is asked while the block runs. Only who may enter the data dir can ask: it is its owner's."""
    calls: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # for mypy
        calls.add(task)
        try:
            await _answer(answer, reader, writer)
        finally:
            calls.discard(task)
            writer.close()

    listener = socket.socket(socket.AF_UNIX)
    with _address(data_dir) as address:
        (data_dir / _NAME).unlink(missing_ok=True)
        listener.bind(address)
    server = await asyncio.start_unix_server(serve, sock=listener)
    try:
        yield
    finally:
        server.close()
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        (data_dir / _NAME).unlink(missing_ok=True)


async def _answer(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for told in answer(json.loads(await reader.readline())):
        with suppress(ConnectionError):  # the asker has left; what it asked for goes on
            writer.write(json.dumps(told).encode() + b"\n")
            await writer.drain()


def ask(data_dir: Path, message: Message) -> Iterator[Message]:
    """Asks the supervisor and yields what it tells. Raises OSError where none listens."""
    with socket.socket(socket.AF_UNIX) as connection:
        with _address(data_dir) as address:
            connection.connect(address)
        connection.sendall(json.dumps(message).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)
