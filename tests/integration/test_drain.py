"""A server that drains: what can end ends, what cannot is told so at once; and a database that restarts under a write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from malla.chat.v1 import chat_pb2, chat_pb2_grpc, event_pb2
from malla.ingestion.v1 import ingestion_pb2 as pb
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError

from common.errors import UnavailableError
from common.server import GrpcService, serving
from common.settings import ServerSettings
from common.store import again
from common.tasks import finished
from services.ingestion.bootstrap import working
from tests.fakes.accounting import MemoryAccounting
from tests.fakes.calls import metadata
from tests.fakes.ingestion import Bench, FakeEmbedder, FakeReader, settings_of

LONG_S = 60.0


async def test_who_watches_a_long_job_is_sent_away_at_once_and_the_job_goes_on(store, store_settings):
    settings, reader, embedder = settings_of(store_settings, drain_grace_s=LONG_S), FakeReader(), FakeEmbedder()
    embedder.hold()
    async with working(settings, store, reader, embedder, MemoryAccounting()) as services, AsyncExitStack() as server:
        address = await server.enter_async_context(serving(settings, services))
        async with grpc.aio.insecure_channel(address) as channel:
            bench = Bench(channel, store, reader, embedder)
            await bench.collection()
            job_id = (await bench.create("uno")).job_id
            watch = bench.call("WatchJob", pb.WatchJobRequest(job_id=job_id))
            assert (await watch.read()).job.job_id == job_id
            async with asyncio.timeout(LONG_S / 3):
                await server.aclose()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                while await watch.read() is not grpc.aio.EOF:
                    pass
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "watch it again" in ended.value.details()
    assert await store.all_tenants("jobs").count({"_id": job_id}) == 1


class Untidy(chat_pb2_grpc.ChatServiceServicer):
    """Streams without an end; tells when it has tidied up, which takes a while."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def StreamChat(self, request: chat_pb2.ChatRequest, context: Any) -> AsyncIterator[event_pb2.ChatEvent]:
        try:
            yield event_pb2.ChatEvent(sequence=1)
            await asyncio.Event().wait()
        finally:
            await finished(asyncio.sleep(0.3))
            self.told.append("tidied up")


async def test_a_call_cut_after_the_grace_may_count_and_store_what_it_did_before_the_server_closes():
    untidy, settings = Untidy(), ServerSettings(_env_file=None, port=0, drain_grace_s=0)
    service = GrpcService("malla.chat.v1.ChatService", untidy, chat_pb2_grpc.add_ChatServiceServicer_to_server)
    async with AsyncExitStack() as server:
        address = await server.enter_async_context(serving(settings, [service]))
        async with grpc.aio.insecure_channel(address) as channel:
            request = chat_pb2.ChatRequest(id_agente=1, mensaje="hola", session_id="s")
            call = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(request, metadata=metadata())
            await call.read()
            await server.aclose()
    assert untidy.told == ["tidied up"]


def away(cause: Exception) -> UnavailableError:
    error = UnavailableError("database")
    error.__cause__ = cause
    return error


class Write:
    """An operation that fails as told, and then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_a_write_whose_connection_was_cut_is_made_again():
    write = Write(away(AutoReconnect("connection closed")), away(AutoReconnect("connection refused")))
    assert await again(write) == "done"
    assert write.tries == 3


@pytest.mark.parametrize("cause", [NetworkTimeout("slow"), ServerSelectionTimeoutError("away")])
async def test_a_write_that_waited_for_the_database_in_vain_is_not(cause):
    write = Write(away(cause))
    with pytest.raises(UnavailableError):
        await again(write)
    assert write.tries == 1
