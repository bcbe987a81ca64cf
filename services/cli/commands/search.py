"""`malla search`."""

from __future__ import annotations

from typing import Annotated

import typer

from common.models import SearchMode, SearchResponse, SearchResult
from services.cli.answers import snippet
from services.cli.data_dir import DataDir, settings_for
from services.cli.output import JsonFlag, console, error_console, print_json
from services.cli.session import call, find_edge
from services.cli.tables import WholeTable

Collection = Annotated[str, typer.Option("--collection", "-c", help="Where to look.")]
Passages = Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")]
Mode = Annotated[SearchMode, typer.Option(help="By meaning and words, meaning only, or words only.", case_sensitive=False)]


def search(
    query: Annotated[str, typer.Argument(help="A question, or words.")],
    collection: Collection,
    k: Passages = 5,
    mode: Mode = SearchMode.HYBRID,
    context: Annotated[int, typer.Option(min=0, max=5, help="Chunks to add to each passage on either side.")] = 0,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each score came about.")] = False,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Find the passages that fit a question."""
    edge = find_edge(settings_for(data_dir))
    response = call(edge, lambda client: client.search(collection, query, k=k, mode=mode, context=context, explain=explain))
    if as_json:
        print_json(response)
        return
    if notice := response.metadata.get("notice"):
        error_console().print(str(notice), style="yellow")
    if not response.results:
        console().print(f"Nothing in '{collection}' fits. `malla ingest` brings documents in.")
        return
    if explain:
        for place, result in enumerate(response.results, start=1):
            console().print(explained(place, result))
        return
    console().print(_table(response))


def _table(response: SearchResponse) -> WholeTable:
    table = WholeTable()
    table.add_column("score", justify="right", width=7, no_wrap=True)
    table.add_column("document", no_wrap=True)
    table.add_column("passage", min_width=24, overflow="fold")
    for result in response.results:
        table.add_row(f"{result.score:.3f}", _place(result), snippet(result.text, 300))
    return table


def explained(place: int, result: SearchResult) -> str:
    """Returns how a result's score came about, in a few lines."""
    lines = [f"{place}. {_place(result)}: {snippet(result.text)}", f"   score {result.score:.3f}{_notes(result)}"]
    told = result.explanation
    for part in told.parts if told else ():
        own = "not proposed" if part.score is None else f"{part.score:.3f} at {part.rank}"
        lines.append(
            f"   {part.name:<8}{own:>18}   {part.normalised:+.2f} deviations x weight {part.weight:.2f}"
            f" = {part.normalised * part.weight:+.2f}"
        )
    return "\n".join(lines)


def _notes(result: SearchResult) -> str:
    told = result.explanation
    if told is None:
        return ""
    notes = [f"collection knows {told.coverage:.0%} of the words"] if told.coverage else []
    if told.rerank_score is not None:
        notes.append(f"reranked {told.rerank_score:.3f}, was {told.fused_score:.3f} at {told.fused_rank}")
    if told.title_words:
        notes.append(f"title has {', '.join(told.title_words)}")
    if len(result.chunk_ids) > 1:
        notes.append(f"{len(result.chunk_ids)} chunks joined")
    if result.also_in:
        notes.append(f"also in {', '.join(result.also_in)}")
    return f" ({'; '.join(notes)})" if notes else ""


def _place(result: SearchResult) -> str:
    return f"{result.document_id}, page {result.page}" if result.page else result.document_id
