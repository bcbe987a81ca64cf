"""`malla usage`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from common.client import MallaClient
from common.models import UsageRecord, UsageResponse
from services.cli.data_dir import DataDir, settings_for
from services.cli.output import JsonFlag, console, print_json
from services.cli.session import call, find_edge
from services.cli.usage_views import budget_lines, record_table, usage_table

_MOST_RECORDS = 200


class GroupBy(StrEnum):
    """What sums are made of."""

    DAY = "day"
    MODEL = "model"
    TOKEN_TYPE = "token_type"  # noqa: S105  # no secret
    OPERATION = "operation"
    PROVIDER = "provider"


Days = Annotated[int, typer.Option(min=1, max=366, help="So many days of UTC, today included.")]
By = Annotated[list[GroupBy] | None, typer.Option(help="What to sum by; repeatable. Day and model if not said.")]
Records = Annotated[bool, typer.Option("--records", help="Show the ledger's rows, the newest first.")]


def usage(
    days: Days = 30, by: By = None, records: Records = False, data_dir: DataDir = None, as_json: JsonFlag = False
) -> None:
    """Show the tokens consumed, what they cost and what is left of the budgets."""
    edge = find_edge(settings_for(data_dir))
    if records:
        _show_records(call(edge, lambda client: _newest(client, days)), days, as_json)
        return
    names = [name.value for name in by or (GroupBy.DAY, GroupBy.MODEL)]
    response = call(edge, lambda client: client.get_usage(names, days=days))
    if as_json:
        print_json(response)
    else:
        _show(response, names, days)


async def _newest(client: MallaClient, days: int) -> list[UsageRecord]:
    found: list[UsageRecord] = []
    async for record in client.list_usage_records(days=days, page_size=_MOST_RECORDS):
        found.append(record)
        if len(found) == _MOST_RECORDS:
            break
    return found


def _show_records(found: list[UsageRecord], days: int, as_json: bool) -> None:
    if as_json:
        rows = [record.model_dump(mode="json") for record in found]
        print_json({"success": True, "message": f"{len(found)} records", "records": rows})
    elif found:
        console().print(record_table(found))
        if len(found) == _MOST_RECORDS:
            console().print(
                f"The newest {_MOST_RECORDS}. Fewer --days, or GET /api/v1/usage/records page by page, shows others."
            )
    else:
        console().print(_nothing(days))


def _show(response: UsageResponse, names: list[str], days: int) -> None:
    out = console()
    if response.totals is None or not response.totals.records:
        out.print(_nothing(days))
    else:
        out.print(usage_table(names, response.groups, response.totals))
        if response.totals.estimated:
            out.print("~ in part estimated: a provider sent no count, or an answer was cut short.")
    out.print(f"\nBudgets of tier {response.tier}")
    for line in budget_lines(response.budgets, datetime.now(UTC)):
        out.print(line)


def _nothing(days: int) -> str:
    return f"Nothing was used in the last {days} days." if days > 1 else "Nothing was used today."
