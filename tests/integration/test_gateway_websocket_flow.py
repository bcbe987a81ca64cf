"""How the WebSocket of the gateway flows: who leaves, who is slow, who is dead, and how it ends on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from common.settings import REPOSITORY
from tests.fakes.chat import FLOOD_TEXT, FakeChat
from tests.fakes.gateway import WAIT_S, Client, Gateway, chat_server, gateway
from tests.fakes.waiting import until

NO_PINGS = {"websocket_ping_interval_s": 3600.0}
MOST_BUFFERED_BYTES = 32 * 1024 * 1024  # the kernel's and gRPC's windows, several times over


async def running_turn(client: Client, mensaje: str = "gated") -> None:
    await client.say(mensaje)
    await client.event()


@pytest.mark.parametrize("abruptly", [False, True], ids=["close", "abort"])
async def test_a_client_that_leaves_cancels_its_turn_within_100_ms(abruptly: bool) -> None:
    delays = []
    async with gateway() as gate:
        for _ in range(3):
            async with gate.open() as client:
                await running_turn(client)
                await client.say("waits behind it")
                left = time.perf_counter()
                if abruptly:
                    client.connection.transport.abort()
                else:
                    await client.connection.close()
                await until(lambda: gate.chat.running == 0)
                delays.append(gate.chat.cancelled[-1] - left)
        assert [request.mensaje for request in gate.chat.requests] == ["gated"] * 3
    assert min(delays) < 0.1, delays  # of three, for the machine may be busy


async def settled(chat: FakeChat) -> int:
    """Waits until the flood has stood still for half a second, and returns how much was pulled."""
    pulled, since = -1, time.monotonic()

    def still() -> bool:
        nonlocal pulled, since
        if chat.flooded != pulled:
            pulled, since = chat.flooded, time.monotonic()
        return pulled > 0 and time.monotonic() - since > 0.5

    await until(still)
    return pulled


@asynccontextmanager
async def deaf(gate: Gateway) -> AsyncIterator[Client]:
    """A client that reads nothing but what its small buffers hold."""
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        small.connect(("127.0.0.1", gate.port))
        async with gate.open(sock=small, max_queue=1, ping_interval=None, close_timeout=0) as client:
            await client.say("flood")
            yield client


async def test_a_client_that_does_not_read_stops_the_stream_until_it_does() -> None:
    async with gateway(**NO_PINGS) as gate, deaf(gate) as client:
        pulled = await settled(gate.chat)
        assert pulled * len(FLOOD_TEXT) < MOST_BUFFERED_BYTES
        for _ in range(pulled + 10):
            assert await client.event()
        assert gate.chat.flooded > pulled
        client.connection.transport.abort()
        await until(lambda: gate.chat.running == 0)


async def test_a_client_that_reads_nothing_for_too_long_is_given_up() -> None:
    async with gateway(websocket_send_timeout_s=0.2, **NO_PINGS) as gate, deaf(gate):
        await until(lambda: gate.chat.cancelled)


async def handshake(gate: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a socket by hand: its client answers no ping."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(
        b"GET /api/v1/groq/chat/stream/s1/7 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nx-tenant-id: acme\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_peer_that_answers_no_ping_is_noticed() -> None:
    async with gateway(websocket_ping_interval_s=0.1, websocket_ping_timeout_s=0.1) as gate:
        reader, writer = await handshake(gate)
        frame = b'{"mensaje": "gated"}'
        writer.write(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)
        async with asyncio.timeout(WAIT_S):
            received = await reader.read(-1)
        assert b"\x89\x04" in received  # a ping
        assert (1011).to_bytes(2, "big") + b"keepalive ping timeout" in received
        await until(lambda: gate.chat.cancelled)
        writer.close()
        await writer.wait_closed()


async def test_a_silent_client_that_answers_pings_stays() -> None:
    async with gateway(websocket_ping_interval_s=0.05, websocket_ping_timeout_s=5.0) as gate, gate.open() as client:
        await client.say("gated")
        await client.event()
        await client.connection.ping()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await client.connection.recv()
        gate.chat.gate.set()
        assert "done" in (await client.turn())[-1]


# ------------------------------------------------------------------------------------------------------------------ SIGTERM


@asynccontextmanager
async def gateway_process(grace_s: float) -> AsyncIterator[tuple[Gateway, asyncio.subprocess.Process]]:
    """A gateway in a process of its own."""
    chat = FakeChat()
    async with chat_server(chat) as address:
        environment = {"MALLA_PORT": "0", "MALLA_MESH_ADDRESS": address, "MALLA_DRAIN_GRACE_S": str(grace_s)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.gateway", cwd=REPOSITORY, env=os.environ | environment, stderr=-1
        )
        assert process.stderr
        try:
            yield Gateway(json.loads(await process.stderr.readline())["port"], chat), process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def test_sigterm_lets_running_turns_end_and_then_goes_away() -> None:
    async with gateway_process(grace_s=15) as (gate, process), gate.open() as busy, gate.open() as idle:
        await running_turn(busy)
        await busy.say("waits behind it")
        process.send_signal(signal.SIGTERM)
        assert await idle.close_code() == 1001  # so the drain has begun
        gate.chat.gate.set()
        assert "done" in (await busy.turn())[-1]
        assert await busy.close_code() == 1001
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
        assert [request.mensaje for request in gate.chat.requests] == ["gated"]


async def test_sigterm_cuts_a_turn_that_outlasts_the_grace() -> None:
    async with gateway_process(grace_s=0.2) as (gate, process), gate.open() as client:
        await running_turn(client)
        process.send_signal(signal.SIGTERM)
        assert await client.close_code() == 1001
        await until(lambda: gate.chat.cancelled)
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
