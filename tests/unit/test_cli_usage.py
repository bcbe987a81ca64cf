"""`malla usage`: what people see of consumption and budgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from common.models import Budget, UsageGroup, UsageRecord, UsageResponse, UsageTotals
from services.cli.commands import usage
from services.cli.usage_views import budget_lines, record_table, usage_table

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GROUPS = [
    UsageGroup(
        key="2026-11-21 / m", day="2026-11-21", model="m", input_tokens=1000, output_tokens=200, total_tokens=1200, cost=0.5
    ),
    UsageGroup(key="2026-11-22 / m", day="2026-11-22", model="m", output_tokens=7, total_tokens=7, estimated=True),
]
TOTALS = UsageTotals(input_tokens=1000, output_tokens=207, total_tokens=1207, estimated=True, cost=0.5, records=3)


def shown(table: object) -> list[str]:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def test_sums_by_day_and_model_and_of_all():
    lines = [line.split() for line in shown(usage_table(["day", "model"], GROUPS, TOTALS))]
    assert lines[0] == ["day", "model", "input", "output", "total", "cost"]
    assert lines[1] == ["2026-11-21", "m", "1,000", "200", "1,200", "0.5000"]
    assert lines[2] == ["2026-11-22", "m", "~0", "~7", "~7", "0.0000"]
    assert lines[3] == ["all", "~1,000", "~207", "~1,207", "0.5000"]


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (0, "0.0000"),
        (0.0000001, "<0.000001"),
        (0.0000184, "0.000018"),
        (0.0004, "0.000400"),
        (0.0123, "0.0123"),
        (12, "12.0000"),
    ],
)
def test_a_cost_is_never_shown_as_nothing(cost: float, said: str):
    assert shown(record_table([UsageRecord(stage="answer", model="m", cost=cost)]))[1].split()[-1] == said


def budget(**fields: object) -> Budget:
    return Budget.model_validate({"token_type": "llm", "period": "day", "limit": 1000, **fields})


@pytest.mark.parametrize(
    ("used", "reserved", "bar"),
    [(0, 0, "░" * 24), (1, 0, "█" + "░" * 23), (500, 250, "█" * 12 + "▒" * 6 + "░" * 6), (1500, 100, "█" * 24)],
)
def test_a_bar_shows_what_is_used_and_what_is_set_aside(used: int, reserved: int, bar: str):
    remaining = max(0, 1000 - used - reserved)
    (line,) = budget_lines([budget(used=used, reserved=reserved, remaining=remaining)], NOW)
    assert line.split()[2] == bar
    assert f"{used:,} of 1,000 tokens" in line
    assert f"{remaining:,} left" in line
    assert ("set aside" in line) is bool(reserved)


@pytest.mark.parametrize(
    ("left", "said"),
    [(timedelta(minutes=5), "less than an hour"), (timedelta(hours=12), "12 h"), (timedelta(days=9), "9 days")],
)
def test_when_a_budget_is_new(left: timedelta, said: str):
    (line,) = budget_lines([budget(remaining=1000, resets_at=NOW + left)], NOW)
    assert line.endswith(f"new in {said}")


def test_a_budget_without_a_limit_is_no_bar():
    assert budget_lines([budget(limit=0, used=12)], NOW) == ["llm, day  12 tokens; no limit"]


def test_rows_of_the_ledger():
    row = UsageRecord(stage="answer", operation="query", model="m", total_tokens=14, estimated=True, created_at=NOW)
    assert shown(record_table([row]))[1].split() == ["11-22", "12:00:00", "answer", "m", "~0", "~0", "~14", "0.0000"]


@pytest.mark.parametrize(("days", "said"), [(1, "today"), (30, "the last 30 days")])
def test_nothing_used_is_a_plain_line(capsys: pytest.CaptureFixture[str], days: int, said: str):
    response = UsageResponse(success=True, message="", totals=UsageTotals(), budgets=[budget(remaining=1000)], tier="free")
    usage._show(response, ["day"], days)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Nothing was used")
    assert said in lines[0]
    assert "Budgets of tier free" in lines
