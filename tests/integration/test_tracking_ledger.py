"""The ledger against a real database: once per key, many rows in one write, and what it says afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.errors import InvalidArgumentError
from common.models import TokenUsage
from common.settings import StoreSettings
from common.store import Store
from common.tracking import (
    OPERATION_BATCH,
    OPERATION_QUERY,
    TOKEN_TYPE_EMBEDDING,
    TOKEN_TYPE_LLM,
    Accounting,
    track_token_usage,
)
from tests.fakes.ledger import Setup, answer, caller


@pytest.fixture
def setup(store_settings: StoreSettings, tmp_path: Path) -> Setup:
    return Setup(store_settings.mongodb_uri.get_secret_value(), tmp_path / "outbox", store_settings.mongodb_database)


@pytest.fixture
async def accounting(setup: Setup, store: Store) -> AsyncIterator[Accounting]:
    async with setup.over(store) as accounting:
        yield accounting


async def total(accounting: Accounting, tenant: str = "acme") -> int:
    return (await accounting.totals(caller(tenant))).totals.total_tokens


async def test_a_replayed_key_adds_nothing_and_answers_with_the_first_row(accounting: Accounting) -> None:
    first = await accounting.commit(None, [answer("k", 10)], caller(request_id="r1", session_id="s"))
    again = await accounting.commit(None, [answer("k", 99)], caller(request_id="r2"))
    assert again == first
    assert first[0].request_id == "r1"
    assert first[0].session_id == "s"
    assert await total(accounting) == 10


async def test_a_key_is_a_tenants_own(accounting: Accounting) -> None:
    await accounting.commit(None, [answer("k", 10)], caller("acme"))
    await accounting.commit(None, [answer("k", 7)], caller("other"))
    assert (await total(accounting, "acme"), await total(accounting, "other")) == (10, 7)
    assert [row.total_tokens for row in (await accounting.records(caller("other"))).records] == [7]


async def test_the_same_key_at_once_counts_once(accounting: Accounting) -> None:
    rows = await asyncio.gather(*(accounting.commit(None, [answer("k", n)], caller()) for n in range(1, 20)))
    assert len({row[0].position for row in rows}) == 1
    assert await total(accounting) == rows[0][0].total_tokens


async def test_rows_that_wait_go_together(accounting: Accounting, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    rows = store.all_tenants("usage")
    original = type(rows).insert_missing

    async def counted(self: object, documents: list[object]) -> list[int]:
        sizes.append(len(documents))
        return await original(self, documents)  # type: ignore[arg-type]

    monkeypatch.setattr(type(rows), "insert_missing", counted)
    await asyncio.gather(*(accounting.commit(None, [answer(f"k{n}"), answer(f"e{n}")], caller()) for n in range(50)))
    assert sum(sizes) == 100
    assert len(sizes) <= 3
    assert await total(accounting) == 1000


async def test_a_caller_that_leaves_has_its_row(accounting: Accounting) -> None:
    leaving = asyncio.create_task(accounting.commit(None, [answer("k")], caller()))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await total(accounting) == 10


@pytest.mark.parametrize("change", [{"token_type": "bytes"}, {"operation": "other"}, {"idempotency_key": ""}])
async def test_what_is_no_usage_is_refused(accounting: Accounting, change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"usage needs|unknown"):
        await accounting.commit(
            None, [answer(**{"key": "k"}, **change) if "idempotency_key" not in change else answer("")], caller()
        )
    with pytest.raises(ValueError, match="tenant"):
        await accounting.commit(None, [answer("k")], caller(""))


async def test_totals_by_anything(accounting: Accounting) -> None:
    ctx = caller()
    await accounting.commit(
        None,
        [
            answer("a", 10, output_tokens=5, cached_tokens=2),
            answer("b", 20, model="openai/gpt-oss-20b", estimated=True),
            answer("c", 30, token_type=TOKEN_TYPE_EMBEDDING, operation=OPERATION_BATCH, provider="embedded", model="e5"),
        ],
        ctx,
    )
    report = await accounting.totals(ctx, group_by=("token_type", "model"))
    assert (report.totals.total_tokens, report.totals.records, report.totals.estimated) == (65, 3, True)
    assert report.totals.cost_nano_usd == 10 * 50 + 5 * 80 + 20 * 75
    assert [(group.key["token_type"], group.key["model"], group.totals.total_tokens) for group in report.groups] == [
        ("embedding", "e5", 30),
        ("llm", "llama-3.1-8b-instant", 15),
        ("llm", "openai/gpt-oss-20b", 20),
    ]
    assert [group.totals.estimated for group in report.groups] == [False, False, True]
    by_day = await accounting.totals(ctx, group_by=("day",))
    assert sum(group.totals.total_tokens for group in by_day.groups) == 65
    assert (await accounting.totals(ctx, until=1)).totals.records == 0
    assert (await accounting.totals(caller("nobody"), group_by=("day",))).groups == []
    with pytest.raises(ValueError, match="tenant_id"):
        await accounting.totals(ctx, group_by=("tenant_id",))


async def test_records_come_in_pages_newest_first(accounting: Accounting) -> None:
    ctx = caller()
    for number in range(7):
        await accounting.commit(None, [answer(f"k{number}", session_id=f"s{number % 2}")], ctx)
    keys, token = [], ""
    while True:
        page = await accounting.records(ctx, page_size=3, page_token=token)
        keys += [row.idempotency_key for row in page.records]
        token = page.next_page_token
        if not token:
            break
    assert sorted(keys) == [f"k{n}" for n in range(7)]
    rows = (await accounting.records(ctx)).records
    assert [row.position for row in rows] == sorted((row.position for row in rows), reverse=True)
    assert {row.session_id for row in (await accounting.records(ctx, session_id="s1")).records} == {"s1"}
    with pytest.raises(InvalidArgumentError):
        await accounting.records(ctx, page_token="bm8=")


@pytest.mark.parametrize(
    ("model", "metadata", "stored"),
    [
        ("llama-3.1-8b-instant", {}, ("groq", "llama-3.1-8b-instant")),
        ("openai/gpt-oss-20b", {}, ("groq", "openai/gpt-oss-20b")),
        ("ollama/qwen", {}, ("ollama", "qwen")),
        ("mine", {"provider": "openai"}, ("openai", "mine")),
    ],
)
async def test_one_function_for_every_provider(
    accounting: Accounting, model: str, metadata: dict[str, str], stored: tuple[str, str]
) -> None:
    usage = TokenUsage(input_tokens=7, output_tokens=3, total_tokens=10)
    row = await track_token_usage(
        "acme", usage, model, TOKEN_TYPE_LLM, OPERATION_QUERY, "k", {**metadata, "agent_id": "1", "x": 1}
    )
    assert (row.provider, row.model) == stored
    assert (row.input_tokens, row.output_tokens, row.agent_id, row.metadata) == (7, 3, "1", {"x": 1})
    again = await track_token_usage("acme", 99, model, TOKEN_TYPE_LLM, OPERATION_QUERY, "k", metadata)
    assert again == row
    assert await total(accounting) == 10


async def test_a_mapping_and_a_number_are_usage_too(accounting: Accounting) -> None:
    row = await track_token_usage("acme", {"input_tokens": 4, "output_tokens": 1}, "m", idempotency_key="a")
    assert row.total_tokens == 5
    row = await track_token_usage("acme", 12, "m", TOKEN_TYPE_EMBEDDING, OPERATION_BATCH, "b")
    assert (row.input_tokens, row.total_tokens) == (12, 12)
    assert await total(accounting) == 17


async def test_a_program_without_an_accounting_has_one_for_the_call(
    store: Store, store_settings: StoreSettings, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", store_settings.mongodb_uri.get_secret_value())
    monkeypatch.setenv("MONGODB_DATABASE", store_settings.mongodb_database)
    monkeypatch.setenv("MALLA_OUTBOX_DIR", str(tmp_path / "programs"))
    first = await track_token_usage("acme", 12, "llama-3.1-8b-instant", TOKEN_TYPE_LLM, OPERATION_QUERY, "k", {"x": 1})
    again = await track_token_usage("acme", 99, "llama-3.1-8b-instant", TOKEN_TYPE_LLM, OPERATION_QUERY, "k", {})
    assert (again, first.provider) == (first, "groq")
    assert list((tmp_path / "programs").glob("*.outbox")) == [], "nothing is left behind"
    async with setup.over(store) as accounting:
        assert await total(accounting) == 12
