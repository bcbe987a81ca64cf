"""Converts between the contract of indexes and its use case."""

from __future__ import annotations

from collections import Counter

from malla.query.v1 import index_pb2 as pb

from common.context import Context, with_context
from common.protobuf import to_message
from services.query.usecases.check import CheckIndexes


class InternalIndexServicer:
    """malla.query.v1.InternalIndexService."""

    def __init__(self, check: CheckIndexes) -> None:
        self._check = check

    @with_context(tenant=True)
    async def CheckIndexes(self, request: pb.CheckIndexesRequest, ctx: Context) -> pb.InternalIndexResponse:
        checks = await self._check(request.collection_id, ctx, report_only=request.report_only)
        states = Counter(check.state.value.lower() for check in checks if check.state)
        return pb.InternalIndexResponse(
            message=", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no collections",
            data=pb.InternalIndexData(checks=[to_message(check, pb.IndexCheck) for check in checks]),
        )
