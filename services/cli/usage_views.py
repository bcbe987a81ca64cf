"""How consumption looks to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from common.models import Budget, UsageGroup, UsageRecord, UsageTotals
from services.cli.tables import WholeTable

_BAR_CELLS = 24
_COUNTS = ("input", "output", "total")
_SMALL_COST = 0.001
_LEAST_COST = 0.000001


def usage_table(by: Sequence[str], groups: Sequence[UsageGroup], totals: UsageTotals) -> WholeTable:
    """Returns the sums, a row a group and one for all of them."""
    table = WholeTable(show_footer=len(groups) > 1)
    for i, name in enumerate(by):
        table.add_column(name.replace("_", " "), footer="all" if i == 0 else "", overflow="fold")
    for name, footer in zip((*_COUNTS, "cost"), _sums(totals), strict=True):
        table.add_column(name, footer=footer, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(*(str(getattr(group, name)) or "-" for name in by), *_sums(group))
    return table


def _sums(row: UsageTotals | UsageGroup | UsageRecord) -> tuple[str, ...]:
    about = "~" if row.estimated else ""
    counts = (row.input_tokens, row.output_tokens, row.total_tokens)
    return (*(f"{about}{count:,}" for count in counts), _cost(row.cost))


def _cost(cost: float) -> str:
    """Returns a cost. What a single call costs is small, and never shown as nothing."""
    if 0 < cost < _LEAST_COST:
        return f"<{_LEAST_COST:f}"
    return f"{cost:.6f}" if 0 < cost < _SMALL_COST else f"{cost:.4f}"


def budget_lines(budgets: Sequence[Budget], now: datetime) -> list[str]:
    """Returns a line a budget: what it limits, a bar, what is left and when all of it is there again."""
    names = [f"{budget.token_type}, {budget.period}" for budget in budgets]
    width = max((len(name) for name in names), default=0)
    return [f"{name.ljust(width)}  {_budget(budget, now)}" for name, budget in zip(names, budgets, strict=True)]


def _budget(budget: Budget, now: datetime) -> str:
    if not budget.limit:
        return f"{budget.used:,} tokens; no limit"
    bar = _bar(budget.used, budget.reserved, budget.limit)
    reserved = f", {budget.reserved:,} set aside" if budget.reserved else ""
    resets = f", new in {_until(budget.resets_at - now)}" if budget.resets_at else ""
    return f"{bar} {budget.used:,} of {budget.limit:,} tokens{reserved}; {budget.remaining or 0:,} left{resets}"


def _bar(used: int, reserved: int, limit: int) -> str:
    """Returns what is used as full cells, what is set aside as half ones. A single token shows."""
    most = max(limit, 1)
    full = min(_BAR_CELLS, -(-used * _BAR_CELLS // most))
    half = min(_BAR_CELLS - full, -(-reserved * _BAR_CELLS // most))
    return "█" * full + "▒" * half + "░" * (_BAR_CELLS - full - half)


def _until(left: timedelta) -> str:
    hours = max(0, int(left.total_seconds())) // 3600
    return f"{hours // 24} days" if hours >= 48 else f"{hours} h" if hours else "less than an hour"


def record_table(records: Sequence[UsageRecord]) -> WholeTable:
    """Returns rows of the ledger."""
    table = WholeTable()
    for name in ("time (UTC)", "step"):
        table.add_column(name, no_wrap=True)
    table.add_column("model", overflow="fold")
    for name in (*_COUNTS, "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for record in records:
        time = f"{record.created_at.astimezone(UTC):%m-%d %H:%M:%S}" if record.created_at else "-"
        table.add_row(time, record.stage or record.token_type, record.model, *_sums(record))
    return table
