"""Calls with repeated keys from many processes, while database and processes are killed: each key counts exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.tracking import DAY, Accounting
from tests.fakes.ledger import Database, Setup, answer, caller, database

LIMITS = {"llm_tokens_per_day": 1_000_000_000}
SETTINGS = {"ledger_timeout_s": 0.5, "budget_lease_s": 3.0}
WORKER = Path(__file__).with_name("ledger_worker.py")


@dataclass
class Call:
    """One call: what it is keyed by and what it consumes. Calls with the same key consume the same."""

    number: int
    key: str
    tokens: int


def calls_of(chance: random.Random, count: int) -> list[Call]:
    keys: list[str] = []
    while len(keys) < count:
        keys += [f"key-{len(keys)}"] * chance.randint(1, 5)
    chance.shuffle(keys)
    tokens = {key: chance.randint(1, 2000) for key in keys}
    return [Call(number, key, tokens[key]) for number, key in enumerate(keys[:count])]


@dataclass
class Worker:
    """A server process that makes calls, and is started again with those it did not acknowledge."""

    setup: Setup
    folder: Path
    calls: Sequence[Call]
    done: set[int] = field(default_factory=set)
    deaths: int = 0
    process: subprocess.Popen[str] | None = None
    failure: str = ""

    def run(self) -> None:
        while left := [call for call in self.calls if call.number not in self.done]:
            work = self.folder / f"{id(self)}.json"
            rows = [[call.number, call.key, call.tokens] for call in left]
            work.write_text(json.dumps({"uri": self.setup.uri, "name": self.setup.name, "rows": rows}))
            arguments = [sys.executable, str(WORKER), str(work), str(self.setup.outbox)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            with subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            ) as self.process:
                assert self.process.stdout is not None
                assert self.process.stderr is not None
                for line in self.process.stdout:
                    if line.endswith("\n"):
                        self.done.add(int(line))
                problem = self.process.stderr.read()
            if self.process.returncode == -9:
                self.deaths += 1
            elif self.process.returncode:
                # The database may have been away when it started.
                self.failure = problem
                time.sleep(0.2)

    def kill(self) -> bool:
        """Kills it once it has work behind it; returns whether it did."""
        if self.process is None or self.process.poll() is not None or not self.done:
            return False
        self.process.kill()
        return True


@contextmanager
def under_fire(server: Database, workers: Sequence[Worker], chance: random.Random, kills: int) -> Iterator[list[str]]:
    """Kills the database and starts it again, and kills workers, until so many were killed and the block has ended."""
    over, killed = threading.Event(), list[str]()

    def fire() -> None:
        while not over.wait(chance.uniform(0.2, 0.8)):
            if not any(worker.done for worker in workers):
                continue
            server.kill()
            killed.append("database")
            over.wait(chance.uniform(0.1, 1.5))
            server.start()
            if len(killed) < kills and chance.choice(workers).kill():
                killed.append("worker")
            if len(killed) >= kills:
                return

    thread = threading.Thread(target=fire, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        thread.join(60)
        over.set()
        thread.join()


async def came_home(accounting: Accounting, setup: Setup) -> None:
    """Waits until no outbox but the reader's own is left, and what dead servers held is free."""
    async with asyncio.timeout(90):
        while True:
            budget = next(row for row in await accounting.budgets(caller()) if row.period == DAY and row.token_type == "llm")
            if len(list(setup.outbox.iterdir())) <= 1 and not budget.reserved:
                return
            # What lapses is settled by whoever asks next.
            held = await accounting.reserve(caller(), key="reader", token_type="llm", tokens=10**8)
            await accounting.release(held)
            await asyncio.sleep(0.2)


async def run(folder: Path, *, calls: int, processes: int, kills: int) -> None:
    chance = random.Random(int(os.environ.get("CHAOS_SEED", "20261122")))
    made = calls_of(chance, calls)
    expected = {call.key: call.tokens for call in made}
    with database(folder / "database") as server:
        setup = Setup(server.uri, folder / "outbox", limits=dict(LIMITS), settings=dict(SETTINGS))
        workers = [Worker(setup, folder, made[n::processes]) for n in range(processes)]
        threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
        with under_fire(server, workers, chance, kills) as killed:
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        assert sum(len(worker.done) for worker in workers) == calls
        async with setup.server("reader") as accounting:
            await came_home(accounting, setup)
            totals = (await accounting.totals(caller())).totals
            budget = next(row for row in await accounting.budgets(caller()) if row.period == DAY and row.token_type == "llm")
        print(
            f"{calls} calls of {len(expected)} keys from {processes} processes; killed {killed.count('database')}x database, "
            f"{sum(worker.deaths for worker in workers)}x worker; {totals.total_tokens} tokens of {sum(expected.values())}"
        )
        assert killed.count("database") >= 1
        assert (totals.records, totals.total_tokens) == (len(expected), sum(expected.values()))
        assert budget.used == totals.total_tokens


@pytest.mark.timeout(180)
async def test_a_short_round(tmp_path: Path) -> None:
    await run(tmp_path, calls=400, processes=3, kills=3)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
async def test_ten_thousand_calls_from_eight_processes(tmp_path: Path) -> None:
    await run(tmp_path, calls=10_000, processes=8, kills=30)


def test_calls_are_what_the_run_says() -> None:
    calls = calls_of(random.Random(1), 1000)
    assert len(calls) == 1000
    assert len({call.key for call in calls}) < 500
    assert len({(call.key, call.tokens) for call in calls}) == len({call.key for call in calls})
    assert answer("k", 3).input_tokens == 3
