"""`malla eval`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from common.client import MallaClient
from common.models import SearchMode
from services.cli.commands.search import Collection, Mode
from services.cli.evaluation import CUT, RECALL_AT, Ranked, rank_all, score
from services.cli.output import JsonFlag, console, error_console, print_json
from services.cli.questions import Question, read_questions
from services.cli.session import DataDir, call, find_edge, settings_for


def evaluate(
    questions: Annotated[Path, typer.Argument(help="One JSON object a line: id, language, question, document, expected.")],
    collection: Collection,
    mode: Mode = SearchMode.HYBRID,
    min_recall: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"Exit status 1 if recall@{RECALL_AT} is lower.")
    ] = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure retrieval on a question file: does the document that answers come first?"""
    asked = read_questions(questions)
    ranked = call(find_edge(settings_for(data_dir)), lambda client: _rank(client, collection, asked, mode, as_json))
    overall = score(ranked)
    good = min_recall is None or overall.recall >= min_recall
    if as_json:
        print_json(_facts(ranked, good))
    else:
        _show(ranked)
        if not good:
            error_console().print(f"malla: recall@{RECALL_AT} is {overall.recall:.3f}, below {min_recall}.", style="red")
    if not good:
        raise typer.Exit(1)


async def _rank(client: MallaClient, collection: str, questions: list[Question], mode: SearchMode, quiet: bool) -> list[Ranked]:
    with Progress(console=error_console(), disable=quiet, transient=True) as bars:
        task = bars.add_task("Questions", total=len(questions))
        return await rank_all(client, collection, questions, mode, lambda: bars.advance(task))


def _groups(ranked: list[Ranked]) -> dict[str, list[Ranked]]:
    languages = sorted({row.question.language for row in ranked})
    groups = {language or "?": [row for row in ranked if row.question.language == language] for language in languages}
    return {**groups, "all": ranked}


def _facts(ranked: list[Ranked], good: bool) -> dict[str, Any]:
    return {
        "success": good,
        "message": f"{len(ranked)} questions asked.",
        "scores": {name: asdict(score(rows)) for name, rows in _groups(ranked).items()},
        "missed": [{"id": row.question.id, "rank": row.rank} for row in ranked if not 0 < row.rank <= RECALL_AT],
    }


def _show(ranked: list[Ranked]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("language")
    for column in ("questions", f"MRR@{CUT}", f"recall@{RECALL_AT}", f"words@{RECALL_AT}"):
        table.add_column(column, justify="right")
    for name, rows in _groups(ranked).items():
        result = score(rows)
        table.add_row(name, str(result.questions), f"{result.mrr:.3f}", f"{result.recall:.3f}", f"{result.words:.3f}")
    out = console()
    out.print(table)
    missed = [row for row in ranked if not 0 < row.rank <= RECALL_AT]
    for row in missed:
        found = f"at {row.rank}" if row.rank else "not found"
        out.print(f"  {row.question.id}: {row.question.document} {found}: {row.question.question}", style="dim")
