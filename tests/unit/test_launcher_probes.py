"""How a process is asked whether it serves, against servers that answer in every way."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest

from services.cli.launcher.checks import Check, CheckKind


@asynccontextmanager
async def answering(answer, *, goes_on=False):
    """A server that reads something, answers it with these bytes, and hangs up, or not."""

    async def serve(reader, writer):
        await reader.read(1024)
        writer.write(answer)
        await writer.drain()
        if goes_on:
            await reader.read()  # until the asker leaves
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "failure", "silence"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", "", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answers 503 to /readyz", ""),
        (b"", "does not answer HTTP", "does not answer HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer HTTP", "does not answer HTTP"),
        (b"x" * 200_000, "does not answer HTTP", "does not answer HTTP"),
    ],
    ids=["success", "other-success", "failure", "nothing", "other-protocol", "line-without-end"],
)
async def test_over_http(answer, failure, silence):
    async with answering(answer) as port:
        check = Check(kind=CheckKind.HTTP, port=port, path="/readyz")
        assert await check.failure(timeout_s=10) == failure
        assert await check.silence(timeout_s=10) == silence


def message(body, *, to=1, code=2013):
    return struct.pack("<4i", 16 + len(body), 7, to, code) + body


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (message(b"x" * 300), ""),
        (message(b"x" * 300)[:-1], "takes connections, but does not answer"),
        (message(b"x" * 300, to=2), "takes connections, but does not answer"),
        (message(b"x" * 300, code=1), "takes connections, but does not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "takes connections, but does not answer"),
        (b"", "takes connections, but does not answer"),
    ],
    ids=["answer", "cut", "of-another", "other-code", "other-protocol", "nothing"],
)
async def test_a_database(answer, failure):
    async with answering(answer) as port:
        assert await Check(kind=CheckKind.MONGODB, port=port).failure(timeout_s=10) == failure


@pytest.mark.parametrize("kind", [CheckKind.HTTP, CheckKind.MONGODB, CheckKind.GRPC])
async def test_one_that_is_silent_is_waited_for_so_long_only(kind):
    async with answering(b"", goes_on=True) as port:
        assert await Check(kind=kind, port=port, path="/").failure(timeout_s=0.2) == "does not answer"
