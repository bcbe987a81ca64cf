"""Uploads that end while a piece is read, watches that end at once, tokens as people read them from files."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import grpc
import pytest
from malla.ingestion.v1 import ingestion_pb2 as pb
from malla.ingestion.v1 import ingestion_pb2_grpc

from common.client import MallaClient
from common.context import Context
from common.errors import Code, DeadlineError, InvalidArgumentError, MallaError
from common.server import GrpcService, serving
from common.settings import ServerSettings
from tests.fakes.small_servers import Ingestion

CTX = Context(tenant_id="acme", request_id="req-1")


class Refusing(Ingestion):
    """Takes the first message of an upload, and then nothing more; ends every watch at once."""

    def __init__(self):
        super().__init__()
        self.begun = asyncio.Event()
        self.refusing = asyncio.Event()

    async def UploadDocument(self, requests, rpc):
        async for _ in requests:
            break
        self.begun.set()
        await self.refusing.wait()
        await rpc.abort(grpc.StatusCode.INVALID_ARGUMENT, "not this one")

    async def WatchJob(self, request, rpc):
        self.watches += 1
        await rpc.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "busy")
        yield pb.JobResponse()


@pytest.fixture
def ingestion():
    return Refusing()


@pytest.fixture
async def malla(ingestion):
    name = "malla.ingestion.v1.IngestionService"
    services = [GrpcService(name, ingestion, ingestion_pb2_grpc.add_IngestionServiceServicer_to_server)]
    async with serving(ServerSettings(port=0, drain_grace_s=0.0), services) as address, MallaClient(address, ctx=CTX) as client:
        yield client


class SlowFile(type(Path())):  # type: ignore[misc]  # the platform's own kind of path
    """A file whose second piece takes until it may come."""

    def open(self, *_args, **_more):
        return SlowReader()


class SlowReader:
    may_come = threading.Event()
    wanted = threading.Event()
    closed = threading.Event()

    def __init__(self):
        self._pieces = 0

    def read(self, size):
        self._pieces += 1
        if self._pieces == 1:
            return bytes(size)
        self.wanted.set()
        assert self.may_come.wait(10)
        return b""

    def close(self):
        self.closed.set()


@pytest.fixture
def reader():
    events = (SlowReader.may_come, SlowReader.wanted, SlowReader.closed)
    for event in events:
        event.clear()
    yield SlowReader
    SlowReader.may_come.set()


async def test_a_refusal_is_heard_while_the_next_piece_is_read(malla, ingestion, reader):
    upload = asyncio.create_task(malla.upload_file("manual", SlowFile("a.bin")))
    await ingestion.begun.wait()
    assert await asyncio.to_thread(reader.wanted.wait, 10)
    ingestion.refusing.set()
    with pytest.raises(MallaError) as failure:
        await upload
    assert failure.value.code is Code.INVALID_ARGUMENT
    reader.may_come.set()
    assert await asyncio.to_thread(reader.closed.wait, 10)


async def test_an_upload_that_is_given_up_while_it_reads_was_cancelled(malla, ingestion, reader):
    upload = asyncio.create_task(malla.upload_file("manual", SlowFile("a.bin")))
    await ingestion.begun.wait()
    assert await asyncio.to_thread(reader.wanted.wait, 10)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    reader.may_come.set()
    assert await asyncio.to_thread(reader.closed.wait, 10)


async def test_a_watch_that_ends_at_once_is_not_begun_again_at_once(malla, ingestion):
    with pytest.raises(DeadlineError):
        await malla.wait_for_job("j", timeout_s=0.4)
    assert ingestion.watches <= 2


async def test_a_token_with_the_end_of_its_line_is_the_token():
    async with MallaClient("127.0.0.1:1", "token\n") as client:
        with pytest.raises(MallaError) as failure:
            await client.get_collection("manual")
    assert failure.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("token", ["tok\nen", "tokén"])
async def test_a_token_that_no_header_can_carry_is_refused_unquoted(token):
    with pytest.raises(InvalidArgumentError) as failure:
        MallaClient("127.0.0.1:1", token)
    assert "malla token create" in failure.value.message
    assert token not in str(failure.value.details)
