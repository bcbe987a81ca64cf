"""Reading what was consumed, what it cost and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from common.context import Context
from common.errors import InvalidArgumentError
from common.models import Budget, UsageGroup, UsageRecord, UsageTotals
from common.paging import DEFAULT_PAGE_SIZE
from common.store import to_datetime
from common.tracking import TOKEN_TYPE_LLM, BudgetStatus, Group, LedgerRow, Totals
from services.query.usage_ports import UsageReader

_USUAL_DAYS = 30


@dataclass(frozen=True)
class TimeRange:
    """From when until when; `days` of UTC, today included, in place of `start`."""

    start: datetime | None = None
    end: datetime | None = None
    days: int = 0

    @property
    def is_said(self) -> bool:
        """Whether anything is."""
        return bool(self.start or self.end or self.days)

    def milliseconds(self) -> tuple[int, int | None]:
        """Returns its beginning and its end since the epoch. Raises InvalidArgumentError where it has none of either."""
        if self.start and self.days:
            raise InvalidArgumentError([("days", "must be 0 beside start_time")])
        if self.start and self.end and self.start >= self.end:
            raise InvalidArgumentError([("end_time", "must be after start_time")])
        since = _first_day(self.days) if self.days else self.start
        return (0 if since is None else _milliseconds(since), None if self.end is None else _milliseconds(self.end))


@dataclass(frozen=True)
class RecordFilter:
    """Which rows of the ledger; empty for all."""

    session_id: str = ""
    model: str = ""
    token_type: str = ""


@dataclass(frozen=True)
class Consumption:
    """Sums, and what is left."""

    totals: UsageTotals
    groups: list[UsageGroup]
    budgets: list[Budget]

    @property
    def tightest(self) -> Budget | None:
        """The budget of answers with the smallest part left; one without a limit only where none has one."""
        of_answers = [budget for budget in self.budgets if budget.token_type == TOKEN_TYPE_LLM]
        return min(of_answers, key=_part_left, default=None)


class ReadUsage:
    """Reads the ledger of the caller's tenant."""

    def __init__(self, reader: UsageReader) -> None:
        self._reader = reader

    async def sums(self, during: TimeRange, group_by: Sequence[str], ctx: Context) -> Consumption:
        """Returns sums over a time range; over the last 30 days where none is said.

        Raises InvalidArgumentError, and UnavailableError where the database is away.
        """
        since, until = (during if during.is_said else TimeRange(days=_USUAL_DAYS)).milliseconds()
        report = await self._reader.totals(ctx, since=since, until=until, group_by=group_by)
        budgets = [_budget(status) for status in await self._reader.budgets(ctx)]
        return Consumption(UsageTotals(**_sums(report.totals)), [_group(group, group_by) for group in report.groups], budgets)

    async def records(
        self, during: TimeRange, wanted: RecordFilter, page_size: int, page_token: str, ctx: Context
    ) -> tuple[list[UsageRecord], str]:
        """Returns a page of rows, the newest first, and the token of the next.

        Raises InvalidArgumentError, and UnavailableError where the database is away.
        """
        since, until = during.milliseconds()
        page = await self._reader.records(
            ctx,
            since=since,
            until=until,
            page_size=page_size or DEFAULT_PAGE_SIZE,
            page_token=page_token,
            **asdict(wanted),
        )
        return [_record(row) for row in page.records], page.next_page_token


def _first_day(days: int) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days - 1)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _sums(totals: Totals) -> dict[str, int | float | bool]:
    fields = asdict(totals)
    del fields["cost_nano_usd"]
    return {**fields, "cost": totals.cost_usd}


def _group(group: Group, group_by: Sequence[str]) -> UsageGroup:
    key = " / ".join(group.key[name] for name in group_by)
    return UsageGroup.model_validate({"key": key, **group.key, **_sums(group.totals)})


def _budget(status: BudgetStatus) -> Budget:
    fields = asdict(status)
    return Budget.model_validate({**fields, "resets_at": to_datetime(status.resets_at)})


def _part_left(budget: Budget) -> float:
    return 2.0 if budget.remaining is None else budget.remaining / max(budget.limit, 1)


def _record(row: LedgerRow) -> UsageRecord:
    return UsageRecord(**row.model_dump(exclude={"created_at"}), cost=row.cost_usd, created_at=to_datetime(row.created_at))
