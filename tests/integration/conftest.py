"""A real database for the tests of this folder: one process for the session, a fresh database for each test.

`MALLA_TEST_MONGODB_URI` names another server, for example a real MongoDB.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient

from common.settings import StoreSettings
from common.store import Store, open_store

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 20.0


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the database server listens."""
    given = os.environ.get("MALLA_TEST_MONGODB_URI")
    if given:
        yield given
        return
    folder = tmp_path_factory.mktemp("database")
    with socket.create_server((_HOST, 0)) as free:
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("nx-27017")
    where = ("--data-dir", str(folder), "--host", _HOST, "-p", str(port))
    files = ("--log-file", "/dev/null", "--pid-file", str(folder / "pid"))
    process = subprocess.Popen([str(program), *where, *files], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"mongodb://{_HOST}:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < give_up:
        try:
            socket.create_connection((_HOST, port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the embedded database did not start")


@pytest.fixture
async def store_settings(mongodb_uri: str) -> AsyncIterator[StoreSettings]:
    """A database of the test's own."""
    settings = StoreSettings(MONGODB_URI=mongodb_uri, MONGODB_DATABASE=f"test_{uuid.uuid4().hex}", _env_file=None)
    yield settings
    async with AsyncMongoClient(settings.mongodb_uri.get_secret_value()) as client:
        await client.drop_database(settings.mongodb_database)


@pytest.fixture
async def store(store_settings: StoreSettings) -> AsyncIterator[Store]:
    """The record, empty."""
    async with open_store(store_settings) as store:
        yield store


@pytest.fixture
def free_port() -> int:
    """A port nothing listens on."""
    with socket.create_server((_HOST, 0)) as free:
        return free.getsockname()[1]
