"""Many calls at once through several processes on a budget for few: exactly those few pass, and all of it is spent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from common.tracking import DAY
from tests.fakes.ledger import Setup, caller, database

WORKER = """
import asyncio, sys
from pathlib import Path
from common.tracking import BudgetExceededError
from tests.fakes.ledger import Setup, answer, caller

async def main():
    uri, name, outbox, worker, calls, tokens, limit = sys.argv[1:]
    tokens, passed, gate = int(tokens), [], asyncio.Semaphore(5)
    setup = Setup(uri, Path(outbox), name, {"llm_tokens_per_day": int(limit), "llm_tokens_per_month": 10 * int(limit)})

    async def call(accounting, key):
        async with gate:
            try:
                held = await accounting.reserve(caller(), key=key, token_type="llm", tokens=tokens)
            except BudgetExceededError:
                return
            await accounting.commit(held, [answer(key, tokens)], caller())
            passed.append(key)

    async with setup.server(f"worker-{worker}") as accounting:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(call(accounting, f"{worker}-{n}") for n in range(int(calls))))
    print(len(passed), flush=True)

asyncio.run(main())
"""


def run(folder: Path, *, processes: int, calls: int, passing: int, tokens: int = 100) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with database(folder / "database") as server, ExitStack() as stack:
        setup = Setup(server.uri, folder / "outbox", limits={"llm_tokens_per_day": passing * tokens})
        shared = [setup.uri, setup.name, str(setup.outbox)]
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-c",
                        WORKER,
                        *shared,
                        str(n),
                        str(calls // processes),
                        str(tokens),
                        str(passing * tokens),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for n in range(processes)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [worker.communicate()[0] for worker in workers]
        passed = [int(line) for line in told]
        print(f"{calls} calls from {processes} processes on a budget for {passing}: {sum(passed)} passed, {passed} by process")
        assert sum(passed) == passing
        asyncio.run(check(setup, passing, passing * tokens))


async def check(setup: Setup, records: int, tokens: int) -> None:
    async with setup.server("reader") as accounting:
        today = next(row for row in await accounting.budgets(caller()) if (row.token_type, row.period) == ("llm", DAY))
        assert (today.used, today.reserved, today.remaining) == (tokens, 0, 0)
        assert (await accounting.totals(caller())).totals.records == records


def test_two_hundred_calls_on_a_budget_for_fifty(tmp_path: Path) -> None:
    run(tmp_path, processes=4, calls=200, passing=50)


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("passing", [1, 7, 50, 199, 1000])
def test_two_thousand_calls_from_eight_processes(tmp_path: Path, passing: int) -> None:
    run(tmp_path, processes=8, calls=2000, passing=passing)
