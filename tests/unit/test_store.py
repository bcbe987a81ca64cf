"""The record without its database: what is refused before a call, and what an unreachable one is told as."""

from __future__ import annotations

import gc
import socket
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pymongo import AsyncMongoClient

from common.errors import UnavailableError
from common.settings import StoreSettings
from common.store import Store, now_ms, open_store, to_datetime

_TIMEOUT_S = 0.3


@pytest.fixture(autouse=True)
def forget_what_the_driver_drops() -> Iterator[None]:
    """The driver does not close a socket whose connecting it cancels; that is no finding of these tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


async def opened(port: int) -> None:
    settings = StoreSettings(MONGODB_URI=f"mongodb://127.0.0.1:{port}", MONGODB_TIMEOUT=_TIMEOUT_S, _env_file=None)
    async with open_store(settings):
        raise AssertionError("there is no database")


@pytest.mark.parametrize("kind", ["silent_port", "closed_port"])
async def test_an_unreachable_database_is_told_quickly_and_by_name(kind: str, request: pytest.FixtureRequest):
    started = time.monotonic()
    with pytest.raises(UnavailableError) as refused:
        await opened(request.getfixturevalue(kind))
    assert time.monotonic() - started < 10 * _TIMEOUT_S
    assert "database" in refused.value.message
    assert refused.value.retry_after_s


async def test_an_error_about_the_database_does_not_show_its_password(closed_port: int):
    settings = StoreSettings(
        MONGODB_URI=f"mongodb://root:hunter2@127.0.0.1:{closed_port}", MONGODB_TIMEOUT=_TIMEOUT_S, _env_file=None
    )
    with pytest.raises(UnavailableError) as refused:
        async with open_store(settings):
            pass
    assert "hunter2" not in refused.value.message + str(refused.value.details)


async def test_no_tenant_no_rows():
    async with AsyncMongoClient("mongodb://127.0.0.1:1", connect=False) as client:
        with pytest.raises(ValueError, match="tenant"):
            Store(client["test"]).rows("", "documents")


def test_stored_times_come_back():
    moment = now_ms()
    assert abs(time.time() * 1000 - moment) < 5_000
    assert to_datetime(moment).tzinfo is UTC
    assert to_datetime(1_500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


def test_settings_read_the_names_of_the_contract(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MONGODB_URI", "mongodb://elsewhere:1")
    monkeypatch.setenv("UNKNOWN_KEY", "ignored")
    assert StoreSettings(_env_file=None).mongodb_uri.get_secret_value() == "mongodb://elsewhere:1"
