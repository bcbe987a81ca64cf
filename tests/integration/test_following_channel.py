"""A channel whose certificate is replaced: calls that run go on, new ones show the new one, the old channel ends."""

from __future__ import annotations

import grpc
import pytest
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.channel import _following
from common.channel._following import FollowingChannel
from common.mtls import Material
from tests.e2e import edge_backend
from tests.e2e.edge import free_ports
from tests.fakes.waiting import until

FIRST, SECOND = Material(b"1", b"1", b"1"), Material(b"2", b"2", b"2")
REQUEST = query_pb2.QueryRequest(collection_id="c", query="gated")


class Files:
    """Stands for a member's files; plaintext, so that what they hold does not matter."""

    current = FIRST

    def __init__(self) -> None:
        self.next: Material | None = None

    def fresh(self) -> Material | None:
        given, self.next = self.next, None
        return given


async def test_a_running_stream_outlives_the_certificate_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_following, "_LOOK_EVERY_S", 0)
    query, files, (port,) = edge_backend.Query(), Files(), free_ports(1)
    opened: list[tuple[Material, grpc.aio.Channel]] = []

    def open_with(material: Material) -> grpc.aio.Channel:
        opened.append((material, grpc.aio.insecure_channel(f"127.0.0.1:{port}")))
        return opened[-1][1]

    async with edge_backend.replica(port, query), FollowingChannel(files, open_with) as channel:  # type: ignore[arg-type]
        stub = query_pb2_grpc.QueryServiceStub(channel)
        running = aiter(stub.StreamQuery(REQUEST))
        assert (await anext(running)).sequence == 1
        files.next = SECOND
        other = aiter(stub.StreamQuery(REQUEST))
        assert (await anext(other)).sequence == 1
        assert [material for material, _ in opened] == [FIRST, SECOND]
        query.gate.set()
        assert [event.sequence async for event in running] == [2, 3]
        assert [event.sequence async for event in other] == [2, 3]
        old = opened[0][1]
        await until(lambda: old.get_state() is grpc.ChannelConnectivity.SHUTDOWN)
        assert [event.sequence async for event in stub.StreamQuery(REQUEST)] == [1, 2, 3]
        assert len(opened) == 2


async def test_a_channel_that_is_closed_ends_what_runs_on_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_following, "_LOOK_EVERY_S", 0)
    query, files, (port,) = edge_backend.Query(), Files(), free_ports(1)
    async with edge_backend.replica(port, query):
        channel = FollowingChannel(files, lambda _: grpc.aio.insecure_channel(f"127.0.0.1:{port}"))  # type: ignore[arg-type]
        stub = query_pb2_grpc.QueryServiceStub(channel)
        running = stub.StreamQuery(REQUEST)
        events = aiter(running)
        await anext(events)
        files.next = SECOND
        await anext(aiter(stub.StreamQuery(REQUEST)))
        await channel.close()
        assert await running.code() == grpc.StatusCode.CANCELLED
