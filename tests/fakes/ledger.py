"""A real database that tests kill, and accounting over it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.context import Context, Tier
from common.settings import StoreSettings
from common.store import Store, open_store
from common.tiers import TierSettings
from common.tracking import OPERATION_QUERY, TOKEN_TYPE_LLM, Accounting, TrackingSettings, UsageEntry, open_accounting

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 20.0


@dataclass
class Database:
    """The embedded database, which can be killed and started again on the same port and files."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"mongodb://{_HOST}:{self.port}"

    def start(self) -> None:
        """Starts it; returns when it answers."""
        program = Path(sys.executable).with_name("nx-27017")
        where = ("--data-dir", str(self.folder), "--host", _HOST, "-p", str(self.port))
        files = ("--log-file", "/dev/null", "--pid-file", str(self.folder / "pid"))
        (self.folder / "pid").unlink(missing_ok=True)
        self.process = subprocess.Popen([str(program), *where, *files], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + _START_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < give_up:
            try:
                socket.create_connection((_HOST, self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise TimeoutError("the database did not start")

    def kill(self) -> None:
        """Kills it as `kill -9` does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """A database of the test's own."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server((_HOST, 0)) as free:
        port = free.getsockname()[1]
    server = Database(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Setup:
    """What servers of one mesh share."""

    uri: str
    outbox: Path
    name: str = field(default_factory=lambda: f"test_{uuid.uuid4().hex}")
    limits: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The record."""
        settings = StoreSettings(MONGODB_URI=self.uri, MONGODB_DATABASE=self.name, _env_file=None)  # type: ignore[call-arg]
        async with open_store(settings) as store:
            yield store

    @asynccontextmanager
    async def server(self, name: str = "query") -> AsyncIterator[Accounting]:
        """One server's accounting."""
        async with self.store() as store, self.over(store, name) as accounting:
            yield accounting

    @asynccontextmanager
    async def over(self, store: Store, name: str = "query") -> AsyncIterator[Accounting]:
        """One server's accounting over a store."""
        settings = TrackingSettings(outbox_dir=self.outbox, **self.settings, _env_file=None)
        tiers = TierSettings(
            tiers={Tier.FREE: {**_UNLIMITED, **self.limits}},  # type: ignore[dict-item]
            _env_file=None,  # type: ignore[call-arg]
        )
        async with open_accounting(settings, store, server=name, tiers=tiers) as accounting:
            yield accounting


_UNLIMITED = {
    "llm_tokens_per_day": 0,
    "llm_tokens_per_month": 0,
    "embedding_tokens_per_day": 0,
    "embedding_tokens_per_month": 0,
}


def caller(tenant: str = "acme", **values: Any) -> Context:
    """The context of a call."""
    return Context(tenant_id=tenant, **values)


def answer(key: str, tokens: int = 10, **values: Any) -> UsageEntry:
    """An entry of an answer."""
    return UsageEntry(
        **{
            "idempotency_key": key,
            "token_type": TOKEN_TYPE_LLM,
            "operation": OPERATION_QUERY,
            "stage": "answer",
            "provider": "groq",
            "model": "llama-3.1-8b-instant",
            "input_tokens": tokens,
            **values,
        }
    )
