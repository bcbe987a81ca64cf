"""How a process of each kind is asked. What a kind speaks is loaded when one of it is asked."""

from __future__ import annotations

import asyncio
import re
import struct

HOST = "127.0.0.1"

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_OP_MSG = 2013
_MOST_BYTES = 64 * 1024


async def runs(_port: int, _path: str) -> str:
    """Asks nothing."""
    return ""


async def is_open(port: int, _path: str) -> str:
    """Returns what is wrong with a port, or "" if something listens there."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return "refuses connections"
    writer.close()
    return ""


async def serves_grpc(port: int, path: str) -> str:
    """Returns what grpc.health.v1 says, or "" if it is SERVING."""
    if closed := await is_open(port, path):  # cheaper than a channel while the server loads
        return closed
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
        try:
            response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        except grpc.aio.AioRpcError as error:
            return f"fails its health check: {error.code().name}"
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return "" if status == "SERVING" else f"says {status}"


async def succeeds(port: int, path: str) -> str:
    """Returns what is wrong with what GET is answered, or "" for a status of success."""
    status = await _status(port, path)
    if not status:
        return "does not answer HTTP"
    return "" if status.startswith("2") else f"answers {status} to {path}"


async def answers(port: int, path: str) -> str:
    """Returns "" for any answer to GET."""
    return "" if await _status(port, path) else "does not answer HTTP"


async def _status(port: int, path: str) -> str:
    """Returns the status of the answer to GET, "" where there is none.

    By hand: a start asks twenty times a second, and a client of httpx alone takes 20 ms to make.
    """
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
            found = _STATUS_LINE.match(await reader.readline())
        finally:
            writer.close()
    except (OSError, ValueError):  # ValueError: a line without end
        return ""
    return found[1].decode() if found else ""


async def pongs(port: int, path: str) -> str:
    """Returns what is wrong with a database, or "" if it answers `hello` with what MongoDB's protocol calls a message."""
    if closed := await is_open(port, path):
        return closed
    from bson import encode

    body = struct.pack("<IB", 0, 0) + encode({"hello": 1, "$db": "admin"})
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(struct.pack("<4i", 16 + len(body), 1, 0, _OP_MSG) + body)
            size, _, to, code = struct.unpack("<4i", await reader.readexactly(16))
            if (to, code) == (1, _OP_MSG) and 16 < size < _MOST_BYTES:
                await reader.readexactly(size - 16)
                return ""
        finally:
            writer.close()
    except (OSError, EOFError):
        pass
    return "takes connections, but does not answer"
