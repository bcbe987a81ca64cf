"""Budgets against a real database: nothing is overspent, nothing is lost, and what a dead server held comes back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from common.settings import StoreSettings
from common.store import Store
from common.tracking import DAY, MONTH, TOKEN_TYPE_EMBEDDING, TOKEN_TYPE_LLM, Accounting, BudgetExceededError, BudgetStatus
from tests.fakes.ledger import Setup, answer, caller

CALLS = 200
PASS = 50


@pytest.fixture
def setup(store_settings: StoreSettings, tmp_path: Path) -> Setup:
    return Setup(store_settings.mongodb_uri.get_secret_value(), tmp_path / "outbox", store_settings.mongodb_database)


async def status(accounting: Accounting, period: str = DAY, token_type: str = TOKEN_TYPE_LLM) -> BudgetStatus:
    found = await accounting.budgets(caller())
    return next(row for row in found if (row.period, row.token_type) == (period, token_type))


async def reserved(accounting: Accounting, tokens: int) -> bool:
    try:
        await accounting.reserve(caller(), key="k", token_type=TOKEN_TYPE_LLM, tokens=tokens)
    except BudgetExceededError:
        return False
    return True


async def settled(accounting: Accounting, what: str = "reserved", within_s: float = 15) -> None:
    async with asyncio.timeout(within_s):
        while (await status(accounting)).reserved:  # noqa: ASYNC110  # no event: it happens in the database
            await asyncio.sleep(0.05)


async def test_a_refusal_says_what_is_left(setup: Setup, store: Store) -> None:
    setup.limits = {"llm_tokens_per_day": 1000, "llm_tokens_per_month": 5000}
    async with setup.over(store) as accounting:
        ctx = caller()
        held = await accounting.reserve(ctx, key="a", token_type=TOKEN_TYPE_LLM, tokens=600)
        with pytest.raises(BudgetExceededError) as refused:
            await accounting.reserve(ctx, key="b", token_type=TOKEN_TYPE_LLM, tokens=500)
        details = refused.value.details
        assert (details["budget"], details["limit"], details["requested"]) == ("llm_tokens_per_day", 1000, 500)
        assert (details["used"], details["reserved"], details["remaining"]) == (0, 600, 400)
        await accounting.commit(held, [answer("a", 100)], ctx)
        assert (await status(accounting)).used == 100
        assert await reserved(accounting, 900)
        assert not await reserved(accounting, 1)
        now = await status(accounting)
        assert (now.limit, now.used, now.reserved, now.remaining) == (1000, 100, 900, 0)
        assert (await status(accounting, MONTH)).remaining == 4000
        other = await status(accounting, DAY, TOKEN_TYPE_EMBEDDING)
        assert (other.limit, other.remaining) == (0, None)


async def test_a_released_reservation_is_there_again_and_only_once(setup: Setup, store: Store) -> None:
    setup.limits = {"llm_tokens_per_day": 100}
    async with setup.over(store) as accounting:
        held = await accounting.reserve(caller(), key="a", token_type=TOKEN_TYPE_LLM, tokens=100)
        await accounting.release(held)
        await accounting.release(held)
        await accounting.release(None)
        assert await reserved(accounting, 100)
        assert not await reserved(accounting, 1)


async def test_replays_charge_nothing(setup: Setup, store: Store) -> None:
    setup.limits = {"llm_tokens_per_day": 1000}
    async with setup.over(store) as accounting:
        for _ in range(3):
            held = await accounting.reserve(caller(), key="a", token_type=TOKEN_TYPE_LLM, tokens=50)
            await accounting.commit(held, [answer("a", 40)], caller())
        await settled(accounting)
        assert (await status(accounting)).used == 40
        assert await reserved(accounting, 960)
        assert not await reserved(accounting, 1)


async def test_the_month_is_a_limit_too(setup: Setup, store: Store) -> None:
    setup.limits = {"llm_tokens_per_month": 10}
    async with setup.over(store) as accounting:
        assert await reserved(accounting, 10)
        with pytest.raises(BudgetExceededError) as refused:
            await accounting.reserve(caller(), key="b", token_type=TOKEN_TYPE_LLM, tokens=1)
        assert refused.value.details["budget"] == "llm_tokens_per_month"


async def test_without_a_limit_the_database_is_not_asked(setup: Setup, store: Store) -> None:
    async with setup.over(store) as accounting:
        held = await accounting.reserve(caller(), key="a", token_type=TOKEN_TYPE_LLM, tokens=10**9)
        assert not held.budgeted
        await accounting.commit(held, [answer("a", 5)], caller())
        assert await store.rows("acme", "budgets").count({}) == 0
        now = await status(accounting)
        assert (now.used, now.remaining) == (5, None)


async def test_far_from_its_end_a_budget_is_seldom_asked(setup: Setup, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.limits = {"llm_tokens_per_day": 1_000_000}
    asked = 0
    rows = store.rows("acme", "budgets")
    original = type(rows).update

    async def counted(self: object, query: dict[str, object], change: dict[str, object]) -> bool:
        nonlocal asked
        asked += "rev" in query
        return await original(self, query, change)  # type: ignore[arg-type]

    monkeypatch.setattr(type(rows), "update", counted)
    async with setup.over(store) as accounting:
        for number in range(100):
            held = await accounting.reserve(caller(), key="k", token_type=TOKEN_TYPE_LLM, tokens=100)
            await accounting.commit(held, [answer(f"k{number}", 50)], caller())
        assert asked <= 5
        assert (await status(accounting)).used == 5000
    async with setup.over(store) as accounting:
        now = await status(accounting)
        assert (now.used, now.reserved) == (5000, 0)


async def test_a_budget_begins_with_what_the_ledger_has(setup: Setup, store: Store) -> None:
    async with setup.over(store) as accounting:
        await accounting.commit(None, [answer("a", 70)], caller())
    setup.limits = {"llm_tokens_per_day": 100}
    async with setup.over(store) as accounting:
        assert not await reserved(accounting, 31)
        assert await reserved(accounting, 30)


async def test_what_was_used_without_a_reservation_is_charged(setup: Setup, store: Store) -> None:
    setup.limits = {"llm_tokens_per_day": 100}
    async with setup.over(store) as accounting:
        await accounting.commit(None, [answer("a", 150)], caller())
        now = await status(accounting)
        assert (now.used, now.remaining) == (150, 0)
        assert not await reserved(accounting, 1)


async def test_a_cancelled_wait_keeps_nothing(setup: Setup, store: Store) -> None:
    setup.limits = {"llm_tokens_per_day": 100}
    async with setup.over(store) as accounting:
        for steps in range(12):
            waiting = asyncio.create_task(accounting.reserve(caller(), key="a", token_type=TOKEN_TYPE_LLM, tokens=100))
            for _ in range(steps):
                await asyncio.sleep(0)
            waiting.cancel()
            for held in await asyncio.gather(waiting, return_exceptions=True):
                if not isinstance(held, BaseException):
                    await accounting.release(held)
        assert await reserved(accounting, 100)


async def test_many_servers_at_the_end_of_a_budget(setup: Setup) -> None:
    """200 calls at once through four servers on a budget for 50: 50 pass."""
    setup.limits = {"llm_tokens_per_day": PASS * 100, "llm_tokens_per_month": PASS * 1000}
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(setup.server(f"query-{n}")) for n in range(4)]

        async def call(number: int) -> bool:
            server = servers[number % 4]
            try:
                held = await server.reserve(caller(), key=f"k{number}", token_type=TOKEN_TYPE_LLM, tokens=100)
            except BudgetExceededError:
                return False
            await server.commit(held, [answer(f"k{number}", 100)], caller())
            return True

        passed = await asyncio.gather(*(call(number) for number in range(CALLS)))
        assert sum(passed) == PASS
        assert (await servers[0].totals(caller())).totals.total_tokens == PASS * 100


DEAD = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.fakes.ledger import Setup, answer, caller

async def main():
    uri, name, outbox = sys.argv[1:]
    setup = Setup(uri, Path(outbox), name, {"llm_tokens_per_day": 1000}, {"budget_lease_s": 1.0, "ledger_timeout_s": 0.5})
    async with setup.server("dead") as accounting:
        held = await accounting.reserve(caller(), key="a", token_type="llm", tokens=400)
        await accounting.reserve(caller(), key="b", token_type="llm", tokens=300)
        # The row is durable, and the process dies before the budget is settled.
        accounting._end = lambda reservations: os.kill(os.getpid(), signal.SIGKILL)
        await accounting.commit(held, [answer("a", 120)], caller())

asyncio.run(main())
"""


async def test_a_dead_server_loses_its_reservations_but_not_its_usage(setup: Setup, store: Store) -> None:
    arguments = [setup.uri, setup.name, str(setup.outbox)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    dead = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DEAD, *arguments], env=environment, check=False)
    assert dead.returncode == -9
    setup.limits = {"llm_tokens_per_day": 1000}
    setup.settings = {"budget_lease_s": 1.0, "ledger_timeout_s": 0.5}
    async with setup.over(store) as accounting:
        assert (await status(accounting)).used == 120
        async with asyncio.timeout(20):
            while not await reserved(accounting, 880):  # noqa: ASYNC110  # a lease ends by time
                await asyncio.sleep(0.1)
        assert not await reserved(accounting, 1)
        assert (await status(accounting)).used == 120


async def test_a_long_call_keeps_its_reservation(setup: Setup) -> None:
    setup.limits = {"llm_tokens_per_day": 100}
    setup.settings = {"budget_lease_s": 0.6, "ledger_timeout_s": 0.1}
    async with setup.server("one") as one, setup.server("two") as two:
        held = await one.reserve(caller(), key="a", token_type=TOKEN_TYPE_LLM, tokens=60)
        lease = (await store_leases(two))[0]
        async with asyncio.timeout(20):
            # Renewed often enough that a lease which was not would be long gone.
            while min(await store_leases(two)) <= lease + 2000:
                assert not await reserved(two, 41)
                await asyncio.sleep(0.05)
        await one.commit(held, [answer("a", 60)], caller())
        assert not await reserved(two, 41)
        assert await reserved(two, 40)


async def store_leases(accounting: Accounting) -> list[int]:
    state = await accounting._budgets.find("acme", TOKEN_TYPE_LLM)
    assert state is not None
    return [lease.until for lease in state.leases.values()]
