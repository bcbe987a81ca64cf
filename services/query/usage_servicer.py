"""Converts between the contract of usage and its use case."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from malla.query.v1 import usage_pb2 as pb

from common.context import Context, with_context
from common.protobuf import to_message
from services.query.usecases.usage import ReadUsage, RecordFilter, TimeRange


class UsageServicer:
    """malla.query.v1.UsageService."""

    def __init__(self, read: ReadUsage) -> None:
        self._read = read

    @with_context(tenant=True)
    async def GetUsage(self, request: pb.GetUsageRequest, ctx: Context) -> pb.UsageResponse:
        found = await self._read.sums(_range(request), list(request.group_by), ctx)
        return pb.UsageResponse(
            message=f"{found.totals.total_tokens} tokens",
            totals=to_message(found.totals, pb.UsageTotals),
            groups=[to_message(group, pb.UsageGroup) for group in found.groups],
            budget=None if found.tightest is None else to_message(found.tightest, pb.Budget),
            budgets=[to_message(budget, pb.Budget) for budget in found.budgets],
            tier=ctx.tier.value,
        )

    @with_context(tenant=True)
    async def ListUsageRecords(self, request: pb.ListUsageRecordsRequest, ctx: Context) -> pb.UsageRecordsListResponse:
        wanted = RecordFilter(request.session_id, request.model, request.token_type)
        rows, token = await self._read.records(_range(request), wanted, request.page_size, request.page_token, ctx)
        return pb.UsageRecordsListResponse(records=[to_message(row, pb.UsageRecord) for row in rows], next_page_token=token)


def _range(request: pb.GetUsageRequest | pb.ListUsageRecordsRequest) -> TimeRange:
    return TimeRange(
        start=_time(request.start_time) if request.HasField("start_time") else None,
        end=_time(request.end_time) if request.HasField("end_time") else None,
        days=request.days,
    )


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
