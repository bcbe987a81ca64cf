"""`malla search`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from common.models import SearchMode, SearchResponse, SearchResult
from services.cli.answers import snippet
from services.cli.output import JsonFlag, console, print_json
from services.cli.session import DataDir, call, find_edge, settings_for

Collection = Annotated[str, typer.Option("--collection", "-c", help="Where to look.")]
Passages = Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")]
Mode = Annotated[SearchMode, typer.Option(help="By meaning and words, meaning only, or words only.", case_sensitive=False)]


def search(
    query: Annotated[str, typer.Argument(help="A question, or words.")],
    collection: Collection,
    k: Passages = 5,
    mode: Mode = SearchMode.HYBRID,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Find the passages that fit a question."""
    edge = find_edge(settings_for(data_dir))
    response = call(edge, lambda client: client.search(collection, query, k=k, mode=mode))
    if as_json:
        print_json(response)
        return
    if not response.results:
        console().print(f"Nothing in '{collection}' fits. `malla ingest` brings documents in.")
        return
    console().print(_table(response))


def _table(response: SearchResponse) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("score", justify="right", width=7)
    table.add_column("document", ratio=1, overflow="fold")
    table.add_column("passage", ratio=3, overflow="fold")
    for result in response.results:
        table.add_row(f"{result.score:.3f}", _place(result), snippet(result.text, 300))
    return table


def _place(result: SearchResult) -> str:
    return f"{result.document_id}, page {result.page}" if result.page else result.document_id
