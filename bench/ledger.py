"""What a row of the ledger costs: the time a commit takes and the CPU of all processes, against one insert per row.

Both write to one embedded database in turns, from 50 concurrent streams. Malla's figure includes a reservation on a budget,
the price, the group commit and the settlement; its peer is pymongo's `insert_one` and does none of that. In the paced workload
each stream writes a row, then waits 500 ms, as streams of answers do; the other one writes as fast as it can.
Asked of it: p50 at most 3 ms at 50 streams.

Run: python bench/ledger.py [--seconds 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop
from peers.machine import cpu_s, free_port
from pymongo import AsyncMongoClient

from common.context import Context, Tier
from common.settings import StoreSettings
from common.store import open_store
from common.tiers import TierSettings
from common.tracking import OPERATION_QUERY, TOKEN_TYPE_LLM, TrackingSettings, UsageEntry, open_accounting

STREAMS = 50
HOST = "127.0.0.1"
PACES_S = {"paced: a row every 500 ms a stream": 0.5, "as fast as it goes": 0.0}

Write = Callable[[str], Awaitable[object]]


@contextmanager
def database(folder: Path) -> Iterator[tuple[str, int]]:
    """The embedded database. Yields its address and its pid."""
    port = free_port()
    program = Path(sys.executable).with_name("nx-27017")
    where = ("--data-dir", str(folder), "--host", HOST, "-p", str(port), "--log-file", "/dev/null")
    quiet = subprocess.DEVNULL
    with subprocess.Popen([program, *where, "--pid-file", str(folder / "pid")], stdout=quiet, stderr=quiet) as running:
        try:
            while True:
                try:
                    socket.create_connection((HOST, port), 0.2).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"mongodb://{HOST}:{port}", running.pid
        finally:
            running.terminate()


@asynccontextmanager
async def malla(uri: str, outbox: Path, budgeted: bool) -> AsyncIterator[Write]:
    """Reserves and commits, as a server does for each answer."""
    store_settings = StoreSettings(MONGODB_URI=uri, MONGODB_DATABASE="malla", _env_file=None)
    settings, tiers = TrackingSettings(outbox_dir=outbox, _env_file=None), TierSettings(_env_file=None)
    ctx = Context(tenant_id="bench", session_id="session", tier=Tier.PRO if budgeted else Tier.ENTERPRISE)
    async with open_store(store_settings) as store, open_accounting(settings, store, server="bench", tiers=tiers) as accounting:

        async def write(key: str) -> object:
            held = await accounting.reserve(ctx, key=key, token_type=TOKEN_TYPE_LLM, tokens=2000)
            entry = UsageEntry(
                key,
                TOKEN_TYPE_LLM,
                OPERATION_QUERY,
                "answer",
                "groq",
                "llama-3.1-8b-instant",
                input_tokens=300,
                output_tokens=200,
            )
            return await accounting.commit(held, [entry], ctx)

        yield write


@asynccontextmanager
async def peer(uri: str) -> AsyncIterator[Write]:
    """One insert per row: pymongo and nothing else."""
    async with AsyncMongoClient(uri) as client:
        rows = client["peer"]["usage"]
        await rows.create_index([("tenant_id", 1), ("position", 1)])

        async def write(key: str) -> object:
            row = {"_id": f"bench/{key}", "tenant_id": "bench", "token_type": "llm", "operation": "query", "stage": "answer"}
            row |= {"provider": "groq", "model": "llama-3.1-8b-instant", "session_id": "session", "agent_id": "", "lease": ""}
            row |= {"created_at": time.time_ns() // 1_000_000, "position": f"{time.time_ns()}-{key}", "day": "2026-11-22"}
            counts = {
                "input_tokens": 300,
                "output_tokens": 200,
                "cached_tokens": 0,
                "total_tokens": 500,
                "cost_nano_usd": 31_000,
            }
            return await rows.insert_one({**row, **counts, "estimated": False, "request_id": key, "metadata": {}})

        yield write


class Run(NamedTuple):
    """One turn."""

    p50_ms: float
    p99_ms: float
    rows_per_s: float
    cpu_ms: float
    """Of this process and the database, per row."""


async def measure(write: Write, pids: list[int], pace_s: float, seconds: float) -> Run:
    """Lets the streams write for some seconds."""
    took_ms: list[float] = []
    chance = random.Random(1)

    async def stream() -> None:
        await asyncio.sleep(chance.uniform(0, pace_s))
        while time.monotonic() < end:
            began = time.perf_counter()
            await write(uuid.uuid4().hex)
            took_ms.append((time.perf_counter() - began) * 1000)
            if pace_s:
                await asyncio.sleep(pace_s)

    before, began = cpu_s(pids), time.monotonic()
    end = began + seconds
    await asyncio.gather(*(stream() for _ in range(STREAMS)))
    spent_s, lasted_s = cpu_s(pids) - before, time.monotonic() - began
    cuts = statistics.quantiles(took_ms, n=100)
    return Run(cuts[49], cuts[98], len(took_ms) / lasted_s, spent_s * 1000 / len(took_ms))


async def bench(seconds: float, rounds: int) -> None:
    """Measures all in turns and prints the tables."""
    with tempfile.TemporaryDirectory() as folder, database(Path(folder)) as (uri, pid):
        outbox, pids = Path(folder) / "outbox", [os.getpid(), pid]
        async with malla(uri, outbox, True) as budgeted, malla(uri, outbox, False) as unlimited, peer(uri) as plain:
            writers = {"Malla, with a budget": budgeted, "Malla, no limit": unlimited, "pymongo insert_one": plain}
            for title, pace_s in PACES_S.items():
                runs: dict[str, list[Run]] = {name: [] for name in writers}
                for _ in range(rounds):
                    for name, write in writers.items():
                        runs[name].append(await measure(write, pids, pace_s, seconds))
                print(f"\n{title}, {STREAMS} streams\n  {'':24}{'p50 ms':>9}{'p99 ms':>9}{'rows/s':>9}{'CPU ms/row':>12}")
                for name, turns in runs.items():
                    p50, p99, rate, cpu = (statistics.median(column) for column in zip(*turns, strict=True))
                    print(f"  {name:24}{p50:>9.2f}{p99:>9.2f}{rate:>9.0f}{cpu:>12.2f}")


def main() -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    # As the servers do.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bench(given.seconds, given.rounds))


if __name__ == "__main__":
    main()
