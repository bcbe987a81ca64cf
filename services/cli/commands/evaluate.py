"""`malla eval`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from common.client import MallaClient
from common.models import SearchMode
from services.cli.commands.search import Collection
from services.cli.data_dir import DataDir, settings_for
from services.cli.evaluation import CUT, Ranked, rank_all, score
from services.cli.evaluation_views import facts, report
from services.cli.output import JsonFlag, console, error_console, print_json
from services.cli.questions import Question, read_questions
from services.cli.session import call, find_edge

_RECALL_AT = 5

Modes = Annotated[
    list[SearchMode] | None,
    typer.Option("--mode", help="One way of finding; may be said again. All, side by side, if not said.", case_sensitive=False),
]


def evaluate(
    questions: Annotated[
        Path,
        typer.Argument(
            help='One JSON object a line: {"question": "…", "document": "path/as/ingested.md"} or "document_id"; '
            'beside it, if wanted, "id", "language", "expected" (words, all of them) or "answers" (one of them).'
        ),
    ],
    collection: Collection,
    modes: Modes = None,
    min_recall: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"Exit status 1 if recall@{_RECALL_AT} of the first mode is lower.")
    ] = None,
    min_mrr: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"Exit status 1 if MRR@{CUT} of the first mode is lower.")
    ] = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure retrieval on a question file: does the document that answers come first?"""
    asked = read_questions(questions)
    wanted = list(dict.fromkeys(modes or SearchMode))
    edge = find_edge(settings_for(data_dir))
    results = call(edge, lambda client: _rank(client, collection, asked, wanted, as_json))
    failed = _failures(results[wanted[0]], min_recall, min_mrr)
    if as_json:
        print_json({"success": not failed, "message": " ".join(failed) or f"{len(asked)} questions asked.", **facts(results)})
    else:
        console().print(report(results))
        for line in failed:
            error_console().print(f"malla: {line}", style="red")
    if failed:
        raise typer.Exit(1)


def _failures(ranked: Sequence[Ranked], min_recall: float | None, min_mrr: float | None) -> list[str]:
    result = score(ranked)
    measured = (
        (f"recall@{_RECALL_AT}", result.recall[_RECALL_AT], min_recall),
        (f"MRR@{CUT}", result.mrr, min_mrr),
    )
    return [f"{name} is {value:.3f}, below {least}." for name, value, least in measured if least is not None and value < least]


async def _rank(
    client: MallaClient, collection: str, questions: list[Question], modes: Sequence[SearchMode], quiet: bool
) -> dict[SearchMode, list[Ranked]]:
    results = {}
    with Progress(console=error_console(), disable=quiet, transient=True) as bars:
        for mode in modes:
            task = bars.add_task(f"Questions, {mode.value.lower()}", total=len(questions))
            results[mode] = await rank_all(client, collection, questions, mode, partial(bars.advance, task))
    return results
