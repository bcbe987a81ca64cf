"""Asking whether the configured model answers: the one question about models that takes tokens."""

from __future__ import annotations

from common.context import Context
from common.models import TestConnectionResponse
from common.tracking import OPERATION_QUERY
from services.query.chat_ports import ConfiguredModels
from services.query.ports import MostTokens
from services.query.usage_ports import Accounts
from services.query.usecases.metering import Bill, bill_key, metered

_TOKENS = 64


class CheckModel:
    """Asks the configured model for one token, and counts it."""

    def __init__(self, models: ConfiguredModels, accounts: Accounts) -> None:
        self._models = models
        self._accounts = accounts

    async def __call__(self, ctx: Context) -> TestConnectionResponse:
        """Returns who answered and how fast. Raises BudgetExceededError, and MallaError where no model answers."""
        async with metered(self._accounts, Bill(bill_key("", ctx), OPERATION_QUERY), MostTokens(llm=_TOKENS), ctx):
            return await self._models.test(ctx)
