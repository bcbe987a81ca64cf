"""What is seen of the ledger and the budgets; never a tenant, whose own view is GET /api/v1/usage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.telemetry import active, observe
from common.tracking._errors import BudgetExceededError


def observe_accounting(outbox_bytes: Callable[[], int], open_calls: Callable[[], int]) -> None:
    """Reports how much usage waits for the database, and how many calls hold part of a budget."""
    observe(
        "malla.usage.outbox",
        lambda: [(outbox_bytes(), {})],
        unit="By",
        description="Usage on disk that waits for the database.",
    )
    observe(
        "malla.budget.open_calls",
        lambda: [(open_calls(), {})],
        unit="{call}",
        description="Calls for which part of a budget is kept.",
    )


@contextmanager
def refusals_counted() -> Iterator[None]:
    """Counts a refusal by a budget, by which kind of budget it is."""
    try:
        yield
    except BudgetExceededError as error:
        live = active()
        if live is not None:
            live.measures.budget_refusals.add(1, {"malla.budget": str(error.details["budget"])})
        raise
