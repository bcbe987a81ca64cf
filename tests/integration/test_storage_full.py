"""A database without room: said clearly, nothing acknowledged lost, and all well once there is room again."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.errors import StorageFullError
from common.settings import StoreSettings
from common.store import open_store
from tests.fakes.calls import refused
from tests.fakes.ingestion import Bench, ingestion, settings_of
from tests.fakes.waiting import until

MIB = 1024 * 1024
pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="a running process's limits are Linux's to change")


@dataclass
class Database:
    """A database whose files may be kept from growing."""

    pid: int
    uri: str

    def limit(self, size: int = resource.RLIM_INFINITY) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def database(tmp_path: Path, free_port: int) -> Iterator[Database]:
    program = Path(sys.executable).with_name("nx-27017")
    where = ("--data-dir", str(tmp_path), "--host", "127.0.0.1", "-p", str(free_port))
    files = ("--log-file", "/dev/null", "--pid-file", str(tmp_path / "pid"))
    process = subprocess.Popen([program, *where, *files], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", free_port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Database(process.pid, f"mongodb://127.0.0.1:{free_port}")
    finally:
        process.terminate()
        process.wait(10)


async def upload(bench: Bench, number: int) -> pb.DocumentUploadResponse:
    async def pieces():
        first = {"collection_id": "manual", "filename": f"{number}.txt"}
        yield pb.UploadDocumentRequest(file={"data": f"documento {number}\n".encode()}, **first)
        yield pb.UploadDocumentRequest(file={"data": os.urandom(MIB // 2).hex().encode()})

    return await bench.call("UploadDocument", pieces())


async def test_a_full_disk_is_said_and_nothing_acknowledged_is_lost(database: Database):
    settings = StoreSettings(MONGODB_URI=database.uri, MONGODB_DATABASE="malla", _env_file=None)
    async with open_store(settings) as store, ingestion(settings_of(settings), store) as bench:
        await bench.collection()
        await bench.ingested("antes", "before")
        database.limit(6 * MIB)
        jobs = []
        with pytest.raises(grpc.aio.AioRpcError):
            while len(jobs) < 40:
                jobs.append((await upload(bench, len(jobs))).job_id)
        failure = await refused(upload(bench, 99))
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
        assert "Free space" in failure.message
        assert (await bench.document("before")).state == pb.Document.READY  # reading goes on
        database.limit()
        for job_id in jobs:
            assert (await bench.ended(job_id)).state == pb.Job.SUCCEEDED
        await bench.ended((await upload(bench, 99)).job_id)
        assert await bench.count("documents", state="READY") == len(jobs) + 2


async def test_many_rows_at_once_are_refused_alike(database: Database):
    settings = StoreSettings(MONGODB_URI=database.uri, MONGODB_DATABASE="malla", _env_file=None)
    async with open_store(settings) as store:
        rows = store.rows("acme", "things")
        database.limit(MIB)
        with pytest.raises(StorageFullError):
            await rows.insert_missing([{"_id": i, "data": os.urandom(MIB // 4)} for i in range(12)])
        database.limit()

        async def stored() -> bool:
            return await rows.insert({"_id": "after"})

        await until(stored)
