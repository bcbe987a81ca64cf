"""The parts of accounting that need no database: prices, tiers, the state of a budget."""

from __future__ import annotations

import pytest

from common.context import Tier
from common.tiers import TierSettings
from common.tracking import (
    DAY,
    MONTH,
    TOKEN_TYPE_EMBEDDING,
    TOKEN_TYPE_LLM,
    BudgetExceededError,
    Price,
    UsageEntry,
)
from common.tracking._budget import BudgetState, Lease, Limits, period_of, period_start_ms, resets_at_ms
from common.tracking._budget_rows import position_from
from common.tracking._prices import PriceList

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
DAY_MS = 86_400_000


def entry(provider: str = "groq", model: str = "llama-3.1-8b-instant", **tokens: int) -> UsageEntry:
    return UsageEntry("key", TOKEN_TYPE_LLM, "query", provider=provider, model=model, **tokens)


def state(**values: object) -> BudgetState:
    return BudgetState(**{"rev": 1, "day": "2026-11-21", "day_used": 0, "month": "2026-11", "month_used": 0, **values})  # type: ignore[arg-type]


class TestPrices:
    def test_cost_is_exact_where_a_micro_dollar_would_round(self) -> None:
        # 7 tokens at 0.05 dollars a million are 0.35 micro-dollars.
        assert PriceList({}).cost_nano_usd(entry(input_tokens=7)) == 350

    def test_cached_input_has_its_own_price(self) -> None:
        used = entry(model="openai/gpt-oss-120b", input_tokens=1000, cached_tokens=400, output_tokens=10)
        assert PriceList({}).cost_nano_usd(used) == 600 * 150 + 400 * 75 + 10 * 600

    def test_a_total_without_parts_costs_what_input_does(self) -> None:
        assert PriceList({}).cost_nano_usd(entry(total_tokens=100)) == 5000

    @pytest.mark.parametrize(
        ("model", "dollars"),
        [("mine", 1.0), ("mine-too", 2.0), ("llama-3.1-8b-instant", 2.0), ("other", 0.0)],
    )
    def test_own_prices_win_and_a_name_wins_over_a_pattern(self, model: str, dollars: float) -> None:
        own = {"groq:mine*": Price(input=2.0), "groq:mine": Price(input=1.0), "groq:llama*": Price(input=2.0)}
        assert PriceList(own).price("groq", model).input == dollars

    def test_what_nobody_knows_costs_nothing(self) -> None:
        assert PriceList({}).cost_nano_usd(entry("ollama", "llama", input_tokens=1000)) == 0


class TestTiers:
    def test_one_number_changes_and_the_rest_stays(self) -> None:
        tiers = TierSettings(tiers={"free": {"llm_tokens_per_day": 5}}, _env_file=None)  # type: ignore[arg-type, call-arg]
        free, default = tiers.of(Tier.FREE), TierSettings(_env_file=None).of(Tier.FREE)  # type: ignore[call-arg]
        assert free.budget(TOKEN_TYPE_LLM, DAY) == 5
        assert free.budget(TOKEN_TYPE_LLM, MONTH) == default.budget(TOKEN_TYPE_LLM, MONTH) > 0
        assert free.budget(TOKEN_TYPE_EMBEDDING, DAY) == default.budget(TOKEN_TYPE_EMBEDDING, DAY)

    def test_they_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MALLA_TIERS", '{"pro": {"models": ["llama-*"], "requests_per_minute": 7}}')
        pro = TierSettings().of(Tier.PRO)
        assert pro.requests_per_minute == 7
        assert pro.allows("llama-3.3-70b-versatile")
        assert not pro.allows("openai/gpt-oss-120b")

    def test_an_unknown_tier_is_refused(self) -> None:
        with pytest.raises(ValueError, match="gold"):
            TierSettings(tiers={"gold": {}}, _env_file=None)  # type: ignore[arg-type, call-arg, dict-item]

    def test_models_above_the_tier(self) -> None:
        free = TierSettings(_env_file=None).of(Tier.FREE)  # type: ignore[call-arg]
        assert not free.allows("openai/gpt-oss-120b")
        assert not free.allows("groq/openai/gpt-oss-120b")
        assert free.allows("my-own-model")
        assert all(free.allows(name) for name in free.preferred)
        assert TierSettings(_env_file=None).of(Tier.ENTERPRISE).allows("openai/gpt-oss-120b")  # type: ignore[call-arg]


class TestBudgetState:
    def test_periods(self) -> None:
        assert (period_of(NOON, DAY), period_of(NOON, MONTH)) == ("2026-11-21", "2026-11")
        assert period_start_ms(NOON, DAY) == NOON - DAY_MS // 2
        assert resets_at_ms(NOON, DAY) == NOON + DAY_MS // 2
        assert period_of(resets_at_ms(NOON, MONTH), DAY) == "2026-12-01"
        assert period_of(resets_at_ms(NOON + 20 * DAY_MS, MONTH), DAY) == "2027-01-01"

    def test_a_new_day_begins_at_nothing_and_time_never_goes_back(self) -> None:
        used = state(day_used=7, month_used=9)
        tomorrow = used.rolled(NOON + DAY_MS)
        assert (tomorrow.day_used, tomorrow.month_used) == (0, 9)
        assert tomorrow.rolled(NOON) == tomorrow
        assert used.rolled(NOON + 15 * DAY_MS).month_used == 0

    def test_a_lease_is_settled_once_and_by_the_day_of_its_rows(self) -> None:
        held = state(month_used=1).holding(Lease("a", 10, NOON, NOON))
        settled = held.settled("a", {"2026-11-21": 3, "2026-11-20": 4, "2026-10-31": 5})
        assert (settled.day_used, settled.month_used, settled.reserved) == (3, 8, 0)
        assert settled.settled("a", {"2026-11-21": 3}) == settled

    def test_what_is_held_counts_until_it_is_settled(self) -> None:
        held = state(day_used=40).holding(Lease("a", 50, NOON, NOON))
        assert held.short_of(11, 0, Limits(day=100)) == DAY
        assert held.short_of(10, 0, Limits(day=100)) == ""
        assert held.short_of(10, 1, Limits(month=60)) == MONTH
        assert held.shrunk("a", 0).short_of(60, 0, Limits(day=100)) == ""

    @pytest.mark.parametrize(("used", "ahead"), [(0, 1562), (74_000, 406), (76_000, 0), (100_000, 0)])
    def test_nothing_is_taken_ahead_near_the_end(self, used: int, ahead: int) -> None:
        assert state(day_used=used).ahead(0, [Limits(day=100_000)], largest=100) == ahead

    def test_nothing_is_taken_ahead_that_is_less_than_a_few_calls(self) -> None:
        assert state().ahead(0, [Limits(day=100_000)], largest=500) == 0
        assert state().ahead(0, [], largest=1) == 0


def test_a_refusal_says_what_is_left_and_until_when() -> None:
    error = BudgetExceededError(
        token_type=TOKEN_TYPE_LLM, period=DAY, limit=100, used=60, reserved=30, requested=11, resets_at_ms=NOON
    )
    assert error.details == {
        "budget": "llm_tokens_per_day",
        "limit": 100,
        "used": 60,
        "reserved": 30,
        "remaining": 10,
        "requested": 11,
        "resets_at": "2026-11-21T12:00:00Z",
    }
    assert error.retry_after_s is not None and error.retry_after_s >= 1


def test_positions_sort_as_their_times_do_up_to_the_last_time_there_is() -> None:
    times = [-(10**15), -1, 0, 1, NOON - 1, NOON, NOON + 1, 10**13 - 1, 10**13, 10_413_792_000_000, 253_402_300_799_999]
    positions = [position_from(time) for time in times]
    assert positions == sorted(positions)
    assert {len(position) for position in positions} == {13}
    assert position_from(NOON) < f"{NOON:013d}-0123456789ab" < position_from(NOON + 1)
