"""The state of one budget: what a tenant has used of one token type, today and this month, and who holds the rest.

One document per tenant and token type, for both periods, so that one compare-and-set decides. A server takes a *lease*: tokens
for its calls in flight, and some ahead while the budget is far from its end. Every row of the ledger names the lease it is
charged to, and a lease is settled once: by its server, or, when the server is gone, by whoever comes next, with what the ledger
says about it. So a crash between a row and its settlement loses nothing and counts nothing twice.

Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from common.store import to_datetime
from common.tracking._types import DAY, MONTH

# Tokens are taken ahead only while a quarter of the budget is free, and then the 64th part of what is free.
_FAR = 4
_AHEAD = 64
# Less than this many of the largest call is not worth taking.
_AHEAD_CALLS = 4


def period_of(now_ms: int, period: str) -> str:
    """Returns the UTC day (YYYY-MM-DD) or month (YYYY-MM) of a time."""
    return f"{to_datetime(now_ms):%Y-%m-%d}" if period == DAY else f"{to_datetime(now_ms):%Y-%m}"


def period_start_ms(now_ms: int, period: str) -> int:
    """Returns when the period of a time began."""
    day = to_datetime(now_ms).replace(hour=0, minute=0, second=0, microsecond=0)
    return _ms(day if period == DAY else day.replace(day=1))


def resets_at_ms(now_ms: int, period: str) -> int:
    """Returns when the next period begins."""
    start = to_datetime(period_start_ms(now_ms, period))
    return _ms(start + timedelta(days=1) if period == DAY else (start + timedelta(days=32)).replace(day=1))


def _ms(time: datetime) -> int:
    return int(time.astimezone(UTC).timestamp() * 1000)


@dataclass(frozen=True)
class Limits:
    """Tokens of a day and of a month; 0 for no limit."""

    day: int = 0
    month: int = 0

    def __bool__(self) -> bool:
        return bool(self.day or self.month)

    def of(self, period: str) -> int:
        """Returns the limit of a period."""
        return self.day if period == DAY else self.month


@dataclass(frozen=True)
class Lease:
    """Tokens a server holds until a time. No row that is charged to it is older than `since`. Milliseconds since the epoch."""

    id: str
    tokens: int
    since: int
    until: int


@dataclass(frozen=True)
class BudgetState:
    """One document. `rev` grows with every change."""

    rev: int
    day: str
    day_used: int
    month: str
    month_used: int
    leases: Mapping[str, Lease] = field(default_factory=dict)

    @property
    def reserved(self) -> int:
        """Tokens that servers hold."""
        return sum(lease.tokens for lease in self.leases.values())

    def used(self, period: str) -> int:
        """Tokens of settled leases in the period."""
        return self.day_used if period == DAY else self.month_used

    def rolled(self, now_ms: int) -> BudgetState:
        """Returns the state with the periods of `now_ms`, which begin at nothing used. Time never goes back."""
        state, day, month = self, period_of(now_ms, DAY), period_of(now_ms, MONTH)
        if day > state.day:
            state = replace(state, day=day, day_used=0)
        if month > state.month:
            state = replace(state, month=month, month_used=0)
        return state

    def settled(self, lease_id: str, used_by_day: Mapping[str, int]) -> BudgetState:
        """Returns the state without a lease and with what was charged to it; unchanged where it is settled already."""
        if lease_id not in self.leases:
            return self
        return replace(
            self,
            day_used=self.day_used + used_by_day.get(self.day, 0),
            month_used=self.month_used + sum(n for day, n in used_by_day.items() if day.startswith(self.month)),
            leases={name: lease for name, lease in self.leases.items() if name != lease_id},
        )

    def holding(self, lease: Lease) -> BudgetState:
        """Returns the state with a lease, in place of one with the same id."""
        return replace(self, leases={**self.leases, lease.id: lease})

    def shrunk(self, lease_id: str, tokens: int) -> BudgetState:
        """Returns the state in which a lease, where it is there, holds so many tokens."""
        lease = self.leases.get(lease_id)
        return self if lease is None else self.holding(replace(lease, tokens=tokens))

    def lapsed(self, before_ms: int) -> list[Lease]:
        """Returns the leases that ended before a time."""
        return [lease for lease in self.leases.values() if lease.until < before_ms]

    def short_of(self, tokens: int, taken: int, limits: Limits) -> str:
        """Returns the period whose limit `tokens` would break, with `taken` held beside the leases; empty for none."""
        for period in (DAY, MONTH):
            limit = limits.of(period)
            if limit and self.used(period) + self.reserved + taken + tokens > limit:
                return period
        return ""

    def ahead(self, taken: int, limits: Iterable[Limits], largest: int) -> int:
        """Returns how many tokens to take for calls to come: none near the end of a budget, where every call must ask."""
        free = [
            (limit.of(period), limit.of(period) - self.used(period) - self.reserved - taken)
            for limit in limits
            for period in (DAY, MONTH)
            if limit.of(period)
        ]
        if not free or any(left * _FAR < limit for limit, left in free):
            return 0
        tokens = min(left for _, left in free) // _AHEAD
        return tokens if tokens >= _AHEAD_CALLS * largest else 0
