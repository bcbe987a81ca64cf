"""Calls about what was consumed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import TypedDict, Unpack

from malla.query.v1 import usage_pb2 as pb

from common.client._caller import Calls
from common.client._options import request_of
from common.client._pages import pages
from common.models import UsageRecord, UsageRecordsListResponse, UsageResponse
from common.protobuf import from_message


class UsageRange(TypedDict, total=False):
    """A time range.

    Attributes:
        days: So many days of UTC, today included.
        start_time: In its place, the beginning, included.
        end_time: The end, not included; now where nothing is said.
    """

    days: int
    start_time: datetime | None
    end_time: datetime | None


class RecordOptions(UsageRange, total=False):
    """Which rows of the ledger.

    Attributes:
        session_id: Those of this conversation.
        model: Those of this model.
        token_type: Those of this token type: llm or embedding.
    """

    session_id: str
    model: str
    token_type: str


class UsageCalls(Calls):
    """Calls about what was consumed."""

    async def get_usage(self, group_by: Sequence[str] = (), **during: Unpack[UsageRange]) -> UsageResponse:
        """Sums what was consumed, and says what is left of the budgets; the last 30 days where no range is said.

        Args:
            group_by: day, model, token_type, operation, provider; any of them.
            **during: The time range.
        """
        request = request_of(pb.GetUsageRequest, {"group_by": group_by, **during})
        return from_message(UsageResponse, await self._caller.unary(self._usage.GetUsage, request))

    async def list_usage_records(
        self, *, page_size: int = 0, **options: Unpack[RecordOptions]
    ) -> AsyncGenerator[UsageRecord, None]:
        """Yields the ledger's rows, the newest first, fetching page after page."""

        async def page(token: str) -> UsageRecordsListResponse:
            row = {"page_size": page_size, "page_token": token, **options}
            request = request_of(pb.ListUsageRecordsRequest, row)
            return from_message(UsageRecordsListResponse, await self._caller.unary(self._usage.ListUsageRecords, request))

        async for response in pages(page):
            for record in response.records:
                yield record
