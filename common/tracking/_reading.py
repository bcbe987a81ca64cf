"""Reading the ledger and the budgets of one tenant."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from common.errors import InvalidArgumentError
from common.paging import DEFAULT_PAGE_SIZE, from_page_token, to_page_token
from common.store import Store, now_ms
from common.tracking._budget import Limits, period_start_ms, resets_at_ms
from common.tracking._budget_rows import BudgetRows, position_from
from common.tracking._ledger import dims_from
from common.tracking._types import GROUPS, PERIODS, BudgetStatus, Group, LedgerRow, RecordPage, Totals, UsageReport

_SUMS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "cost_nano_usd")
_POSITION = re.compile(r"\d{13}-[0-9a-f]{12}")


class Reading:
    """What the ledger says. Every method raises UnavailableError when the database is away."""

    def __init__(self, store: Store, budgets: BudgetRows, grace_ms: int) -> None:
        """`grace_ms` is how long after its end a lease still holds its tokens."""
        self._store = store
        self._budgets = budgets
        self._grace_ms = grace_ms

    async def totals(self, tenant_id: str, since: int, until: int | None, group_by: Sequence[str]) -> UsageReport:
        """See Accounting.totals."""
        if unknown := set(group_by) - set(GROUPS):
            raise ValueError(f"unknown group {sorted(unknown)[0]!r}; there are {', '.join(GROUPS)}")
        rows = await self._store.rows(tenant_id, "usage").sums(
            {"position": _range(since, until)}, by="dims", fields=_SUMS, any_of=("estimated",)
        )
        groups: defaultdict[tuple[str, ...], Totals] = defaultdict(Totals)
        everything = Totals()
        for row in rows:
            if row["_id"] is None:
                continue
            sums = Totals(
                **{name: int(row[name]) for name in _SUMS}, estimated=bool(row["estimated"]), records=int(row["rows"])
            )
            values = dict(zip(GROUPS, dims_from(row["_id"]), strict=True))
            key = tuple(values[name] for name in group_by)
            groups[key], everything = _sum(groups[key], sums), _sum(everything, sums)
        return UsageReport(
            everything,
            [Group(dict(zip(group_by, key, strict=True)), groups[key]) for key in sorted(groups)] if group_by else [],
        )

    async def records(
        self, tenant_id: str, since: int, until: int | None, match: dict[str, Any], page_size: int, page_token: str
    ) -> RecordPage:
        """See Accounting.records. `match` holds the fields that must be equal."""
        size = page_size or DEFAULT_PAGE_SIZE
        position: dict[str, str] = _range(since, until)
        if page_token:
            last = from_page_token(page_token)
            if not _POSITION.fullmatch(last):
                raise InvalidArgumentError([("page_token", "must be the next_page_token of an earlier page")])
            position["$lt"] = min(last, position["$lt"])
        query = {**match, "position": position}
        found = self._store.rows(tenant_id, "usage").find(query, order=[("position", -1)], limit=size + 1)
        rows = [LedgerRow.model_validate(row) async for row in found]
        return RecordPage(rows[:size], to_page_token(rows[size - 1].position) if len(rows) > size else "")

    async def budget(self, tenant_id: str, token_type: str, limits: Limits) -> list[BudgetStatus]:
        """Returns the budgets of a token type. Leases of live servers are read from the ledger: nothing is waited for."""
        now = now_ms()
        state = await self._budgets.find(tenant_id, token_type) if limits else None
        if state is None:
            used = {p: await self._budgets.used_since(tenant_id, token_type, period_start_ms(now, p)) for p in PERIODS}
            return [_status(token_type, period, limits, used[period], 0, now) for period in PERIODS]
        state, reserved = state.rolled(now), 0
        for lease in list(state.leases.values()):
            by_day = await self._budgets.used_of(tenant_id, lease)
            if lease.until + self._grace_ms >= now:
                reserved += max(0, lease.tokens - sum(by_day.values()))
            state = state.settled(lease.id, by_day)
        return [_status(token_type, period, limits, state.used(period), reserved, now) for period in PERIODS]


def _range(since: int, until: int | None) -> dict[str, str]:
    # Rows of this very millisecond belong to "until now".
    return {"$gte": position_from(since), "$lt": position_from(now_ms() + 1 if until is None else until)}


def _sum(one: Totals, other: Totals) -> Totals:
    return Totals(
        **{name: getattr(one, name) + getattr(other, name) for name in (*_SUMS, "records")},
        estimated=one.estimated or other.estimated,
    )


def _status(token_type: str, period: str, limits: Limits, used: int, reserved: int, now: int) -> BudgetStatus:
    limit = limits.of(period)
    return BudgetStatus(
        token_type=token_type,
        period=period,
        limit=limit,
        used=used,
        reserved=reserved if limit else 0,
        remaining=max(0, limit - used - reserved) if limit else None,
        resets_at=resets_at_ms(now, period),
    )
