"""The real ingestion process, killed in the middle of its work: what it acknowledged is searchable exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2 as pb
from malla.ingestion.v1 import ingestion_pb2_grpc as rpc

from common.channel import open_channel
from common.errors import UnavailableError
from common.settings import REPOSITORY, StoreSettings
from common.store import Store
from tests.fakes.calls import metadata
from tests.fakes.engine import FakeEngine
from tests.fakes.servers import embedding_server
from tests.fakes.waiting import until

KILLS = 3
DOCUMENTS = 8
LINES = 40
BATCH = 4


class Server:
    """`python -m services.ingestion`, on one port through all its lives."""

    def __init__(self, store: StoreSettings, mesh_address: str, port: int) -> None:
        self.channel = open_channel(f"127.0.0.1:{port}")
        self.stub = rpc.IngestionServiceStub(self.channel)
        self._environment = {
            **os.environ,
            "MONGODB_URI": store.mongodb_uri.get_secret_value(),
            "MONGODB_DATABASE": store.mongodb_database,
            "MALLA_MESH_ADDRESS": mesh_address,
            "MALLA_PORT": str(port),
            "MALLA_LEASE_S": "0.5",
            "MALLA_POLL_S": "0.05",
            "MALLA_EMBED_BATCH": str(BATCH),
            "MALLA_LOG_LEVEL": "ERROR",
        }

    def launch(self, errors: int = subprocess.DEVNULL, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "services.ingestion"]
        return subprocess.Popen(command, cwd=REPOSITORY, env={**self._environment, **environment}, stderr=errors)

    async def start(self) -> None:
        self.process = self.launch()
        health = health_pb2_grpc.HealthStub(self.channel)
        await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@asynccontextmanager
async def running(store: StoreSettings, mesh_address: str, port: int) -> AsyncIterator[Server]:
    server = Server(store, mesh_address, port)
    await server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)
        await server.channel.close()


def lines_of(name: str) -> list[str]:
    # Each a section of its own, so that each is a passage.
    return [f"# {name} {i}\n\nLa línea {i} del documento {name}.\n" for i in range(LINES)]


async def add_documents(server: Server, acknowledged: dict[str, str]) -> None:
    """Sends documents, each until it is acknowledged, and notes it then."""
    while len(acknowledged) < DOCUMENTS:
        name = f"doc-{len(acknowledged)}"
        request = pb.CreateDocumentRequest(
            collection_id="manual", text="\n".join(lines_of(name)), document_id=name, request_id=f"key-{name}"
        )
        try:
            answer = await server.stub.CreateDocument(request, metadata=metadata(), timeout=2)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)  # the server is down: the same request again
            continue
        acknowledged[name] = answer.job_id
        await asyncio.sleep(0.2)  # the pace of the uploads: some come between the kills; nothing waits for it


@pytest.mark.timeout(100)
async def test_what_was_acknowledged_is_searchable_once_after_any_number_of_kills(
    store: Store, store_settings: StoreSettings, free_port: int
):
    engine, acknowledged = FakeEngine(dimensions=16), dict[str, str]()
    async with embedding_server(engine) as mesh, running(store_settings, mesh, free_port) as server:
        await server.stub.CreateCollection(pb.CreateCollectionRequest(collection_id="manual"), metadata=metadata(), timeout=5)
        adding = asyncio.create_task(add_documents(server, acknowledged))
        for _ in range(KILLS):
            # In the middle of a job: some of its batches are stored, one is being computed.
            seen = len(engine.batches)
            await engine.begun(seen + 3)
            engine.hold()
            await engine.begun(len(engine.batches) + 1)
            server.end(signal.SIGKILL)
            engine.release()
            await server.start()
        await adding
        await until(lambda: all_ended(store), 40)
        assert server.end(signal.SIGTERM) == 0
    await assert_each_once(store, acknowledged)


async def all_ended(store: Store) -> bool:
    return await store.rows("acme", "jobs").count({"state": {"$in": ["PENDING", "RUNNING"]}}) == 0


async def assert_each_once(store: Store, acknowledged: dict[str, str]) -> None:
    log = [row async for row in store.rows("acme", "changes").find({}, order=[("seq", 1)])]
    assert [row["seq"] for row in log] == list(range(1, len(log) + 1))
    assert max(Counter(row["document_id"] for row in log).values()) == 1
    assert {row["document_id"] for row in log} >= set(acknowledged)
    jobs = {row["_id"]: row async for row in store.rows("acme", "jobs").find({}, order=[("_id", 1)])}
    assert {jobs[job_id]["state"] for job_id in acknowledged.values()} == {"SUCCEEDED"}
    assert max(job["attempts"] for job in jobs.values()) > 1, "no job was interrupted: the test proves nothing"
    for change in log:
        found = store.rows("acme", "chunks").find({"document_id": change["document_id"]}, order=[("ordinal", 1)])
        chunks = [(row["version"], row["ordinal"]) async for row in found]
        assert chunks == [(change["version"], i) for i in range(LINES)]
        assert change["chunks"] == LINES


async def test_without_its_record_the_server_does_not_start(free_port: int):
    settings = StoreSettings(MONGODB_URI="mongodb://127.0.0.1:1", _env_file=None)
    server = Server(settings, "127.0.0.1:1", free_port)
    process = server.launch(subprocess.PIPE, MONGODB_TIMEOUT="0.3")
    _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    await server.channel.close()
    assert process.returncode != 0
    assert UnavailableError("database").message.encode() in errors
