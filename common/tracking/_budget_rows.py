"""Budgets in the record: one document per tenant and token type, changed by compare-and-set on its revision."""

from __future__ import annotations

from typing import Any

from common.store import Store, within
from common.tracking._budget import BudgetState, Lease, period_of, period_start_ms
from common.tracking._types import DAY, MONTH

_LAST_MS = 10**13 - 1
"""Positions sort as text: all times have thirteen digits."""


class BudgetRows:
    """Rows of `budgets`. Every method raises UnavailableError when the database is away."""

    def __init__(self, store: Store, timeout_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s

    async def find(self, tenant_id: str, token_type: str) -> BudgetState | None:
        """Returns a budget; None before its first use."""
        with within(self._timeout_s):
            row = await self._store.rows(tenant_id, "budgets").find_one({"_id": _key(tenant_id, token_type)})
        return None if row is None else _state(row)

    async def load(self, tenant_id: str, token_type: str, now_ms: int) -> BudgetState:
        """Returns a budget. A new one begins with what the ledger has of its day and month."""
        state = await self.find(tenant_id, token_type)
        if state is not None:
            return state
        day = await self.used_since(tenant_id, token_type, period_start_ms(now_ms, DAY))
        month = await self.used_since(tenant_id, token_type, period_start_ms(now_ms, MONTH))
        state = BudgetState(0, period_of(now_ms, DAY), day, period_of(now_ms, MONTH), month)
        with within(self._timeout_s):
            row = {"_id": _key(tenant_id, token_type), **_fields(state)}
            if await self._store.rows(tenant_id, "budgets").insert(row):
                return state
        return await self.load(tenant_id, token_type, now_ms)

    async def replace(self, tenant_id: str, token_type: str, rev: int, state: BudgetState) -> bool:
        """Writes a state over revision `rev`; returns False, and changes nothing, where there is another one."""
        with within(self._timeout_s):
            return await self._store.rows(tenant_id, "budgets").update(
                {"_id": _key(tenant_id, token_type), "rev": rev}, {"$set": _fields(state)}
            )

    async def used_of(self, tenant_id: str, lease: Lease) -> dict[str, int]:
        """Returns what the ledger has under a lease, by day."""
        query = {"lease": lease.id, "position": {"$gte": position_from(lease.since)}}
        with within(self._timeout_s):
            rows = await self._store.rows(tenant_id, "usage").sums(query, by="day", fields=("total_tokens",))
        return {row["_id"]: row["total_tokens"] for row in rows if row["_id"]}

    async def used_since(self, tenant_id: str, token_type: str, since_ms: int) -> int:
        """Returns the tokens of a type that the ledger has since a time."""
        query = {"token_type": token_type, "position": {"$gte": position_from(since_ms)}}
        with within(self._timeout_s):
            rows = await self._store.rows(tenant_id, "usage").sums(query, by="token_type", fields=("total_tokens",))
        return sum(row["total_tokens"] for row in rows)


def position_from(milliseconds: int) -> str:
    """Returns what the position of every row from a time on is greater than or equal to; all is before the year 2286."""
    return f"{min(max(0, milliseconds), _LAST_MS):013d}"


def _key(tenant_id: str, token_type: str) -> str:
    return f"{tenant_id}/{token_type}"


def _fields(state: BudgetState) -> dict[str, Any]:
    return {
        "rev": state.rev,
        "day": state.day,
        "day_used": state.day_used,
        "month": state.month,
        "month_used": state.month_used,
        "leases": [
            {"id": lease.id, "tokens": lease.tokens, "since": lease.since, "until": lease.until}
            for lease in state.leases.values()
        ],
    }


def _state(row: dict[str, Any]) -> BudgetState:
    leases = {lease["id"]: Lease(lease["id"], lease["tokens"], lease["since"], lease["until"]) for lease in row["leases"]}
    return BudgetState(row["rev"], row["day"], row["day_used"], row["month"], row["month_used"], leases)
