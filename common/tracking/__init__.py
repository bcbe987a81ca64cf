"""Usage: a ledger in which an idempotency key counts once, and budgets that are asked before anything is spent.

    async with open_accounting(settings, store, server="query") as accounting:
        reservation = await accounting.reserve(ctx, key=key, token_type=TOKEN_TYPE_LLM, tokens=3000)
        ...
        rows = await accounting.commit(reservation, [UsageEntry.of(usage, idempotency_key=key, ...)], ctx)

`track_token_usage` does the last step for callers that hold no Accounting.
"""

from common.tracking._accounting import Accounting, open_accounting
from common.tracking._errors import BudgetExceededError, LedgerFullError
from common.tracking._settings import Price, TrackingSettings
from common.tracking._track import track_token_usage, use_accounting
from common.tracking._types import (
    DAY,
    GROUPS,
    MONTH,
    OPERATION_BATCH,
    OPERATION_INTERNAL,
    OPERATION_QUERY,
    OPERATIONS,
    PERIODS,
    TOKEN_TYPE_EMBEDDING,
    TOKEN_TYPE_LLM,
    TOKEN_TYPES,
    BudgetStatus,
    Group,
    LedgerRow,
    RecordPage,
    Reservation,
    Totals,
    UsageEntry,
    UsageReport,
)

__all__ = [
    "DAY",
    "GROUPS",
    "MONTH",
    "OPERATIONS",
    "OPERATION_BATCH",
    "OPERATION_INTERNAL",
    "OPERATION_QUERY",
    "PERIODS",
    "TOKEN_TYPES",
    "TOKEN_TYPE_EMBEDDING",
    "TOKEN_TYPE_LLM",
    "Accounting",
    "BudgetExceededError",
    "BudgetStatus",
    "Group",
    "LedgerFullError",
    "LedgerRow",
    "Price",
    "RecordPage",
    "Reservation",
    "Totals",
    "TrackingSettings",
    "UsageEntry",
    "UsageReport",
    "open_accounting",
    "track_token_usage",
    "use_accounting",
]
