"""What the query server needs of the ledger and the budgets; common.tracking.Accounting is it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from common.context import Context
from common.tracking import BudgetStatus, LedgerRow, RecordPage, Reservation, UsageEntry, UsageReport


class Accounts(Protocol):
    """Counts what calls consume."""

    async def reserve(self, ctx: Context, *, key: str, token_type: str, tokens: int) -> Reservation:
        """Keeps tokens for a call. Raises BudgetExceededError, and MallaError where usage could not be counted."""
        ...

    async def commit(
        self, reservation: Reservation | Sequence[Reservation] | None, entries: Iterable[UsageEntry], ctx: Context
    ) -> list[LedgerRow]:
        """Writes durable rows, once a key, and gives back what was kept beyond them."""
        ...

    async def release(self, reservation: Reservation | None) -> None:
        """Gives back what was kept for a call that consumed nothing."""
        ...


class UsageReader(Protocol):
    """Tells what was consumed, and what is left."""

    async def totals(
        self, ctx: Context, *, since: int = 0, until: int | None = None, group_by: Sequence[str] = ()
    ) -> UsageReport:
        """Sums rows of a time range in milliseconds since the epoch."""
        ...

    async def records(
        self,
        ctx: Context,
        *,
        since: int = 0,
        until: int | None = None,
        session_id: str = "",
        model: str = "",
        token_type: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> RecordPage:
        """Returns a page of rows, the newest first."""
        ...

    async def budgets(self, ctx: Context) -> list[BudgetStatus]:
        """Returns every budget, those without a limit included."""
        ...


class Accounting(Accounts, UsageReader, Protocol):
    """Both."""
