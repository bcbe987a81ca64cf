"""The ledger while its database is killed and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import UnavailableError
from common.tracking import (
    TOKEN_TYPE_EMBEDDING,
    TOKEN_TYPE_LLM,
    Accounting,
    BudgetExceededError,
    LedgerFullError,
)
from tests.fakes.ledger import Database, Setup, answer, caller, database

QUICK = {"ledger_timeout_s": 0.3, "budget_lease_s": 1.5}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Database]:
    with database(tmp_path / "database") as running:
        yield running


@pytest.fixture
def setup(server: Database, tmp_path: Path) -> Setup:
    return Setup(server.uri, tmp_path / "outbox", settings=dict(QUICK))


async def arrived(accounting: Accounting, tokens: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                if (await accounting.totals(caller())).totals.total_tokens >= tokens:
                    return
            except UnavailableError:
                pass
            await asyncio.sleep(0.05)


async def test_usage_waits_and_arrives_once(server: Database, setup: Setup) -> None:
    async with setup.server() as accounting:
        await accounting.commit(None, [answer("before")], caller())
        server.kill()
        first = await accounting.commit(None, [answer("k", 5)], caller())
        again = await accounting.commit(None, [answer("k", 99)], caller())
        assert again == first
        rows = await asyncio.gather(*(accounting.commit(None, [answer(f"k{n}", 1)], caller()) for n in range(20)))
        assert [row[0].idempotency_key for row in rows] == [f"k{n}" for n in range(20)]
        await accounting.commit(None, [answer("before", 99)], caller())
        server.start()
        await arrived(accounting, 35)
        after = await accounting.commit(None, [answer("k", 99)], caller())
        assert after[0].position == first[0].position
        report = await accounting.totals(caller())
        assert (report.totals.total_tokens, report.totals.records) == (35, 22)
    assert list(setup.outbox.iterdir()) == []


async def test_what_a_stopped_server_kept_is_adopted_by_another(server: Database, setup: Setup) -> None:
    async with setup.server("one") as one, setup.server("two") as two:
        server.kill()
        await one.commit(None, [answer("a", 5)], caller())
        await two.commit(None, [answer("a", 5), answer("b", 6)], caller())
    assert len(list(setup.outbox.iterdir())) == 2
    server.start()
    async with setup.server("three") as three:
        await arrived(three, 11)
        assert (await three.totals(caller())).totals.records == 2
        async with asyncio.timeout(20):
            while len(list(setup.outbox.iterdir())) > 1:  # noqa: ASYNC110  # no event: files go away
                await asyncio.sleep(0.05)


async def test_a_full_outbox_refuses_calls_and_loses_none(server: Database, setup: Setup) -> None:
    setup.settings["outbox_max_bytes"] = 20_000
    async with setup.server() as accounting:
        server.kill()
        taken = []
        with pytest.raises(LedgerFullError) as refused:
            for number in range(100):
                held = await accounting.reserve(caller(), key=f"k{number}", token_type=TOKEN_TYPE_LLM, tokens=1)
                taken.append(await accounting.commit(held, [answer(f"k{number}", 1)], caller()))
        assert refused.value.code == "UNAVAILABLE"
        assert 10 < len(taken) < 100
        # What is in flight when it fills up is kept all the same.
        await accounting.commit(None, [answer("late", 1)], caller())
        server.start()
        await arrived(accounting, len(taken) + 1)
        async with asyncio.timeout(20):
            while True:
                try:
                    await accounting.reserve(caller(), key="again", token_type=TOKEN_TYPE_LLM, tokens=1)
                except LedgerFullError:
                    await asyncio.sleep(0.05)
                else:
                    break


async def test_budgets_are_charged_when_usage_arrives(server: Database, setup: Setup) -> None:
    setup.limits = {"llm_tokens_per_day": 1000}
    async with setup.server() as accounting:
        held = await accounting.reserve(caller(), key="a", token_type=TOKEN_TYPE_LLM, tokens=500)
        server.kill()
        await accounting.commit(held, [answer("a", 300)], caller())
        await accounting.commit(None, [answer("b", 50)], caller())
        with pytest.raises(UnavailableError):
            await accounting.reserve(caller(), key="c", token_type=TOKEN_TYPE_LLM, tokens=600)
        unlimited = await accounting.reserve(caller(), key="d", token_type=TOKEN_TYPE_EMBEDDING, tokens=600)
        await accounting.release(unlimited)
        server.start()
        await arrived(accounting, 350)
        async with asyncio.timeout(30):
            while True:
                try:
                    held = await accounting.reserve(caller(), key="c", token_type=TOKEN_TYPE_LLM, tokens=650)
                except (BudgetExceededError, UnavailableError):
                    # The lease of a write that nobody knows the end of lapses first.
                    await asyncio.sleep(0.1)
                else:
                    break
        with pytest.raises(BudgetExceededError) as refused:
            await accounting.reserve(caller(), key="d", token_type=TOKEN_TYPE_LLM, tokens=1)
        assert refused.value.details["used"] == 350
        await accounting.release(held)


async def test_a_caller_that_leaves_during_an_outage_has_its_row(server: Database, setup: Setup) -> None:
    async with setup.server() as accounting:
        server.kill()
        leaving = asyncio.create_task(accounting.commit(None, [answer("a", 5)], caller()))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        server.start()
        await arrived(accounting, 5)
