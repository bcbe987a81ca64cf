"""What ingestion needs of the ledger and the budgets; common.tracking.Accounting is it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from common.context import Context
from common.tracking import LedgerRow, Reservation, UsageEntry


class Accounts(Protocol):
    """Counts what jobs consume."""

    async def reserve(self, ctx: Context, *, key: str, token_type: str, tokens: int) -> Reservation:
        """Keeps tokens for a batch. Raises BudgetExceededError, and MallaError where usage could not be counted."""
        ...

    async def commit(
        self, reservation: Reservation | Sequence[Reservation] | None, entries: Iterable[UsageEntry], ctx: Context
    ) -> list[LedgerRow]:
        """Writes durable rows, once a key, and gives back what was kept beyond them."""
        ...

    async def release(self, reservation: Reservation | None) -> None:
        """Gives back what was kept for a batch that consumed nothing."""
        ...
