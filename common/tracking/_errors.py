"""Why a billable call is refused before anything is spent."""

from __future__ import annotations

from typing import Any

from common.errors import Code, MallaError, UnavailableError
from common.store import now_ms, to_datetime


class BudgetExceededError(MallaError):
    """The tenant's budget has less left than the call may take. Nothing was spent."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "BUDGET_EXCEEDED"
    detail_message = "malla.common.v1.BudgetExceeded"

    def __init__(
        self, *, token_type: str, period: str, limit: int, used: int, reserved: int, requested: int, resets_at_ms: int
    ) -> None:
        remaining = max(0, limit - used - reserved)
        resets_at = to_datetime(resets_at_ms)
        details: dict[str, Any] = {
            "budget": f"{token_type}_tokens_per_{period}",
            "limit": limit,
            "used": used,
            "reserved": reserved,
            "remaining": remaining,
            "requested": requested,
            "resets_at": resets_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        super().__init__(
            f"The budget of {limit:,} {token_type} tokens a {period} has {remaining:,} left; the call may take {requested:,}. "
            f"It is full again at {resets_at:%Y-%m-%d %H:%M} UTC; `malla usage` shows what was used.",
            details=details,
            retry_after_s=max(1.0, (resets_at_ms - now_ms()) / 1000),
        )


class LedgerFullError(UnavailableError):
    """The database is away and the outbox is full: what a call consumed could not be kept. Nothing was spent."""

    reason = "LEDGER_FULL"

    def __init__(self) -> None:
        super().__init__(
            "usage ledger",
            "The database is away and the outbox is full, so nothing more can be counted. Bring the database back.",
        )
