"""A search as callers ask for it: within what their tier allows, and counted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from common.context import Context
from common.llm.usage import estimate_tokens
from common.models import SearchMode
from common.tasks import finished
from services.query.ports import MostTokens
from services.query.usage_ports import Accounts
from services.query.usecases.limits import Limits
from services.query.usecases.metering import RERANKING, Bill, Meter, bill_key, metered
from services.query.usecases.search import Found, SearchPassages, SearchSpec


class CountedSearch:
    """Finds passages, and counts what the vector of the query took."""

    def __init__(self, search: SearchPassages, accounts: Accounts, limits: Limits) -> None:
        self._search = search
        self._accounts = accounts
        self._limits = limits

    async def __call__(self, spec: SearchSpec, operation: str, ctx: Context) -> Found:
        """Returns the passages. Raises what SearchPassages raises, and BudgetExceededError."""
        allowed = self._limits.passages(spec.k, ctx)
        for name, value in allowed.facts.items():
            ctx.add_metric(name, value)
        bill = Bill(bill_key(spec.request_id, ctx, "search", spec.collection_id, spec.query), operation)
        async with metered(self._accounts, bill, MostTokens(embedding=query_tokens(spec)), ctx) as meter:
            found = await self._counted(replace(spec, k=allowed.k), meter, ctx)
            reranked = any(stage.stage == RERANKING for stage in meter.spent)
            return replace(found, usage=meter.usage) if reranked else found

    async def _counted(self, spec: SearchSpec, meter: Meter, ctx: Context) -> Found:
        """Searches, and writes what that consumes beside the search as soon as it is known; durable when it returns."""
        written: list[asyncio.Task[None]] = []
        try:
            return await self._search(spec, ctx, on_spent=lambda: written.append(asyncio.create_task(meter.commit())))
        finally:
            for writing in written:
                await finished(writing)


def query_tokens(spec: SearchSpec) -> int:
    """Returns the most tokens that the vector of a search's query takes."""
    return 0 if spec.mode is SearchMode.LEXICAL else most_embedding_tokens(spec.query)


def most_embedding_tokens(text: str) -> int:
    """Returns the most tokens that a text has for an embedding model: rather too many, for this is kept, not charged."""
    return 2 * estimate_tokens(text) + 8
