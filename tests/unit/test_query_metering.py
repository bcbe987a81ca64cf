"""What a call consumed is counted once, whatever becomes of the call; what it kept of the budgets is given back."""

from __future__ import annotations

import asyncio

import pytest

from common.context import Context
from common.errors import UnavailableError
from common.models import TokenUsage
from common.tracking import BudgetExceededError
from services.query.ports import Asking, MostTokens
from services.query.usecases.metering import Bill, Meter, bill_key, metered
from tests.fakes.accounting import MemoryAccounting

MOST = MostTokens(llm=1000, embedding=50)
BILL = Bill("k-1/x", "query", agent_id="7")
ASKING = Asking("groq", "m", 100)
VECTOR = TokenUsage(input_tokens=4, total_tokens=4, provider="embedded", model="e5")
ANSWER = TokenUsage(input_tokens=11, output_tokens=3, total_tokens=14, provider="groq", model="m")


@pytest.fixture
def accounts() -> MemoryAccounting:
    return MemoryAccounting()


@pytest.fixture
def ctx() -> Context:
    return Context(tenant_id="acme", session_id="s-1", request_id="r-1")


def counted(accounts: MemoryAccounting) -> dict[str, tuple[str, int, int, bool]]:
    return {
        key: (row.token_type, row.input_tokens, row.output_tokens, row.estimated) for key, row in sorted(accounts.rows.items())
    }


async def test_a_whole_answer_is_a_row_a_step_in_one_commit(accounts: MemoryAccounting, ctx: Context):
    async with metered(accounts, BILL, MOST, ctx) as meter:
        assert [(kept.token_type, kept.tokens) for kept in accounts.open] == [("embedding", 50), ("llm", 1000)]
        ctx.add_usage("query_embedding", VECTOR)
        meter.asking(ASKING)
        meter.heard("Hola")
        meter.answered([("statement_embedding", VECTOR), ("answer", ANSWER)])
        await meter.commit()
    assert counted(accounts) == {
        "k-1/x/answer": ("llm", 11, 3, False),
        "k-1/x/query_embedding": ("embedding", 4, 0, False),
    }
    row = accounts.rows["k-1/x/answer"]
    assert (row.operation, row.session_id, row.agent_id, row.request_id, row.provider) == ("query", "s-1", "7", "r-1", "groq")
    assert (accounts.commits, accounts.open) == (1, [])


async def test_a_step_that_ran_twice_is_one_row_with_both(accounts: MemoryAccounting, ctx: Context):
    async with metered(accounts, BILL, MOST, ctx):
        ctx.add_usage("query_embedding", VECTOR)
        ctx.add_usage("query_embedding", VECTOR)
    assert counted(accounts) == {"k-1/x/query_embedding": ("embedding", 8, 0, False)}


async def test_what_was_spent_before_belongs_to_another(accounts: MemoryAccounting, ctx: Context):
    ctx.add_usage("query_embedding", VECTOR)
    async with metered(accounts, BILL, MOST, ctx):
        pass
    assert (counted(accounts), accounts.commits, accounts.open) == ({}, 0, [])


@pytest.mark.parametrize("pieces", [[], ["Hola, ", "mundo."]])
async def test_a_reader_who_leaves_leaves_one_answer_row(accounts: MemoryAccounting, ctx: Context, pieces: list[str]):
    asked = asyncio.Event()

    async def call() -> None:
        async with metered(accounts, BILL, MOST, ctx) as meter:
            meter.asking(ASKING)
            for piece in pieces:
                meter.heard(piece)
            asked.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ((token_type, sent, made, estimated),) = counted(accounts).values()
    assert (token_type, sent, made > 0, estimated) == ("llm", 100, bool(pieces), True)
    assert accounts.open == []


@pytest.mark.parametrize("pieces", [[], ["Hola"]])
async def test_a_model_that_fails_is_counted_from_its_first_piece_on(
    accounts: MemoryAccounting, ctx: Context, pieces: list[str]
):
    with pytest.raises(UnavailableError):
        async with metered(accounts, BILL, MOST, ctx) as meter:
            meter.asking(ASKING)
            for piece in pieces:
                meter.heard(piece)
            raise UnavailableError("llm")
    assert len(accounts.rows) == len(pieces)
    assert accounts.open == []


async def test_a_failure_after_the_commit_adds_nothing(accounts: MemoryAccounting, ctx: Context):
    with pytest.raises(UnavailableError):
        async with metered(accounts, BILL, MOST, ctx) as meter:
            meter.asking(ASKING)
            meter.heard("Hola")
            meter.answered([("answer", ANSWER)])
            await meter.commit()
            raise UnavailableError("database")
    assert counted(accounts) == {"k-1/x/answer": ("llm", 11, 3, False)}


async def test_a_refused_call_keeps_and_spends_nothing(accounts: MemoryAccounting, ctx: Context):
    refusal = BudgetExceededError(
        token_type="llm", period="day", limit=10, used=9, reserved=1, requested=5, resets_at_ms=1_800_000_000_000
    )
    real = accounts.reserve

    async def reserve(*args: object, token_type: str, **more: object) -> object:
        if token_type == "llm":
            raise refusal
        return await real(*args, token_type=token_type, **more)  # type: ignore[arg-type]

    accounts.reserve = reserve  # type: ignore[assignment, method-assign]
    meter: Meter | None = None
    with pytest.raises(BudgetExceededError):
        async with metered(accounts, BILL, MOST, ctx) as meter:
            raise AssertionError("not reached")
    assert (meter, accounts.rows, accounts.open) == (None, {}, [])


def test_a_key_is_the_same_for_the_same_work_only(ctx: Context):
    other = Context(tenant_id="acme", request_id="r-2")
    assert bill_key("k", ctx, "query", "manual", "¿?") == bill_key("k", other, "query", "manual", "¿?")
    assert bill_key("k", ctx, "query", "manual", "¿?").startswith("k/")
    different = [("query", "manual", "¡!"), ("query", "pagos", "¿?"), ("chat", "manual", "¿?"), ("query", "manual¿?")]
    assert len({bill_key("k", ctx, *work) for work in different} | {bill_key("k", ctx, "query", "manual", "¿?")}) == 5


def test_calls_without_a_key_are_never_the_same(ctx: Context):
    first, second = bill_key("", ctx, "query", "m", "¿?"), bill_key("", ctx, "query", "m", "¿?")
    assert first != second
    assert first.startswith("r-1/")
