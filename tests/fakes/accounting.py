"""A ledger in memory, without budgets, each key once; and the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from common.context import Context
from common.store import Store, now_ms
from common.tiers import TierSettings
from common.tracking import (
    Accounting,
    BudgetStatus,
    LedgerRow,
    RecordPage,
    Reservation,
    Totals,
    TrackingSettings,
    UsageEntry,
    UsageReport,
    open_accounting,
)
from services.query.usecases.limits import Limits

LIMITS = Limits(TierSettings(_env_file=None), usual_tokens=2000)
"""What the tiers allow where nothing is configured."""


@asynccontextmanager
async def accounted(store: Store, folder: Path, tiers: TierSettings | None = None, **changes: Any) -> AsyncIterator[Accounting]:
    """The real ledger over a database, with its outbox in a folder."""
    settings = TrackingSettings(_env_file=None, outbox_dir=folder / "outbox", **changes)
    async with open_accounting(settings, store, server="query", tiers=tiers or TierSettings(_env_file=None)) as accounting:
        yield accounting


class MemoryAccounting:
    """`rows` is what was committed, `kept` the reservations; `failure` refuses the next ones."""

    def __init__(self) -> None:
        self.rows: dict[str, LedgerRow] = {}
        self.kept: list[Reservation] = []
        self.commits = 0
        self.failure: Exception | None = None

    @property
    def open(self) -> list[Reservation]:
        """The reservations nobody gave back."""
        return [kept for kept in self.kept if kept.open]

    async def reserve(self, ctx: Context, *, key: str, token_type: str, tokens: int) -> Reservation:
        if self.failure is not None:
            raise self.failure
        self.kept.append(Reservation(ctx.tenant_id, key, token_type, tokens, budgeted=True))
        return self.kept[-1]

    async def commit(
        self, reservation: Reservation | Sequence[Reservation] | None, entries: Iterable[UsageEntry], ctx: Context
    ) -> list[LedgerRow]:
        self.commits += 1
        for kept in [reservation] if isinstance(reservation, Reservation) else reservation or ():
            await self.release(kept)
        rows = [self._row(entry, ctx) for entry in entries]
        return [self.rows.setdefault(row.idempotency_key, row) for row in rows]

    async def release(self, reservation: Reservation | None) -> None:
        if reservation is not None:
            reservation.open = False

    async def totals(
        self, ctx: Context, *, since: int = 0, until: int | None = None, group_by: Sequence[str] = ()
    ) -> UsageReport:
        return UsageReport(Totals(records=len(self.rows)), [])

    async def records(self, ctx: Context, **_: object) -> RecordPage:
        return RecordPage(list(self.rows.values()), "")

    async def budgets(self, ctx: Context) -> list[BudgetStatus]:
        return []

    def _row(self, entry: UsageEntry, ctx: Context) -> LedgerRow:
        fields = {name: getattr(entry, name) for name in UsageEntry.__dataclass_fields__}
        return LedgerRow(**fields, tenant_id=ctx.tenant_id, created_at=now_ms(), day="", position=entry.idempotency_key)
