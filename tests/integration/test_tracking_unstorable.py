"""Usage that cannot be stored hurts nobody else's, and what a short-lived accounting found is there for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from common.context import Tier
from common.settings import StoreSettings
from common.store import Store
from common.tracking import TOKEN_TYPE_LLM, Accounting, Price, track_token_usage
from common.tracking._outbox import Outbox
from tests.fakes.ledger import Setup, answer, caller


@pytest.fixture
def setup(store_settings: StoreSettings, tmp_path: Path) -> Setup:
    uri = store_settings.mongodb_uri.get_secret_value()
    return Setup(uri, tmp_path / "outbox", store_settings.mongodb_database, limits={"llm_tokens_per_day": 1000})


@pytest.fixture
async def accounting(setup: Setup, store: Store) -> AsyncIterator[Accounting]:
    async with setup.over(store) as accounting:
        yield accounting


@pytest.mark.parametrize(
    "odd",
    [
        {"total_tokens": 2**31},
        {"total_tokens": 10**30},
        {"total_tokens": -5},
        {"input_tokens": -5},
        {"cached_tokens": 2**31},
        {"metadata": {(1, 2): "x"}},
        {"metadata": {"count": 2**63}},
        {"metadata": {"a\0b": 1}},
        {"metadata": {"text": "\ud800"}},
        {"metadata": {"text": "x" * 100_000}},
        {"metadata": {"deep": float("nan")}},
        {"model": "\ud800"},
    ],
    ids=lambda odd: str(odd)[:40].encode("ascii", "backslashreplace").decode(),
)
async def test_what_cannot_be_stored_is_refused_alone(accounting: Accounting, odd: dict[str, Any]) -> None:
    kept = await accounting.reserve(caller(), key="odd", token_type=TOKEN_TYPE_LLM, tokens=600)
    refused, stored = await asyncio.gather(
        accounting.commit(kept, [answer("odd", **odd)], caller()),
        accounting.commit(None, [answer("good")], caller("other")),
        return_exceptions=True,
    )
    assert isinstance(refused, ValueError)
    assert isinstance(stored, list)
    assert (await accounting.totals(caller("other"))).totals.records == 1
    assert not accounting._outbox.size
    # What was kept for the call is free again, though nothing was counted.
    again = await accounting.reserve(caller(), key="next", token_type=TOKEN_TYPE_LLM, tokens=600)
    await accounting.release(again)


async def test_values_that_json_has_no_form_for_are_kept_as_text(accounting: Accounting) -> None:
    odd = {
        "price": Decimal("1.50"),
        "at": datetime(2026, 11, 22, tzinfo=UTC),
        "nested": {"path": Path("a")},
        "n": 1,
        "t": ["x"],
    }
    row = await track_token_usage("acme", 5, "m", idempotency_key="k", metadata=odd)
    assert row.metadata == {"price": "1.50", "at": "2026-11-22 00:00:00+00:00", "nested": {"path": "a"}, "n": 1, "t": ["x"]}
    assert await track_token_usage("acme", 5, "m", idempotency_key="k") == row


async def test_what_a_program_finds_is_let_go_with_its_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "outbox"
    for name in "abc":
        dead = Outbox.create(folder, name)
        await dead.append([{"_id": name}])
        dead.close()
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50")
    monkeypatch.setenv("MALLA_OUTBOX_DIR", str(folder))
    monkeypatch.setenv("MALLA_LEDGER_TIMEOUT_S", "0.1")
    monkeypatch.setenv("MALLA_TIERS", '{"free": {"llm_tokens_per_day": 0, "llm_tokens_per_month": 0}}')
    for number in range(3):
        await track_token_usage("acme", 5, "m", idempotency_key=f"k{number}", metadata={"tier": Tier.FREE})
    adopted = Outbox.adopt(folder)
    assert len(adopted) == 3 + 3
    for outbox in adopted:
        outbox.close()


@pytest.mark.parametrize("dollars", [float("inf"), float("nan")])
def test_a_price_is_a_number(dollars: float) -> None:
    with pytest.raises(ValidationError):
        Price(input=dollars)
