"""`malla ingest`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from common.client import MallaClient
from common.models import Job
from services.cli.data_dir import DataDir, named_path, settings_for
from services.cli.files import SourceFile, find_files
from services.cli.ingesting import FileResult, Listener, Outcome, ensure_collection, ingest_files
from services.cli.output import CliError, JsonFlag, console, error_console, print_json
from services.cli.session import call, find_edge


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", metavar="PATH…", parser=named_path)],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Created if it is not there.")],
    language: Annotated[str, typer.Option(help="Main language of a new collection, ISO 639-1.")] = "es",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Files side by side.")] = 4,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Ingest files and folders. Exit status 1 if one failed; files that have not changed are not done again."""
    try:
        files = find_files(paths)
    except FileNotFoundError as error:
        raise CliError(f"There is no file or folder {error.args[0]}.") from None
    except OSError as error:
        raise CliError(f"The folder {error.filename} cannot be read: {error.strerror}. Nothing was ingested.") from None
    if not files:
        raise CliError(f"There is no file in {', '.join(map(str, paths))}.")
    edge = find_edge(settings_for(data_dir))
    results = call(edge, lambda client: ingest_all(client, collection, language, files, jobs, quiet=as_json))
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    if as_json:
        print_json(_facts(collection, results, failed))
    else:
        show_results(collection, results)
    if failed:
        raise typer.Exit(1)


async def ingest_all(
    client: MallaClient, collection: str, language: str, files: Sequence[SourceFile], at_once: int, *, quiet: bool
) -> list[FileResult]:
    """Brings files into a collection, with a progress bar."""
    await ensure_collection(client, collection, language)
    with _progress(files, quiet) as listener:
        return await ingest_files(client, collection, files, at_once=at_once, listener=listener)


@contextmanager
def _progress(files: Sequence[SourceFile], quiet: bool) -> Iterator[Listener]:
    if quiet:
        yield Listener()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console()) as bars:
        yield _Bars(bars, len(files)).listener


class _Bars:
    """One bar of files, one of chunks; the chunks of a file are known once its text is cut."""

    def __init__(self, bars: Progress, files: int) -> None:
        self._bars = bars
        self._files: TaskID = bars.add_task("Files ", total=files)
        self._chunks: TaskID = bars.add_task("Chunks", total=None)
        self._seen: dict[str, Job] = {}
        self.listener = Listener(on_job=self._on_job, on_result=self._on_result)

    def _on_job(self, file: SourceFile, job: Job) -> None:
        self._seen[file.document_id] = job
        jobs = self._seen.values()
        total = sum(seen.chunks_total for seen in jobs)
        self._bars.update(self._chunks, completed=sum(seen.chunks_done for seen in jobs), total=total or None)

    def _on_result(self, _result: FileResult) -> None:
        self._bars.advance(self._files)


def show_results(collection: str, results: Sequence[FileResult]) -> None:
    """Says what was done, and lists what failed and why."""
    out = console()
    counts = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    chunks = sum(result.chunks for result in results if result.outcome is Outcome.INGESTED)
    unchanged = f", {counts[Outcome.UNCHANGED]} unchanged" if counts[Outcome.UNCHANGED] else ""
    ingested = counts[Outcome.INGESTED]
    out.print(f"{ingested} file{_s(ingested)} ({chunks} chunk{_s(chunks)}) ingested into '{collection}'{unchanged}.")
    errors = error_console()
    for result in results:
        for warning in result.warnings:
            errors.print(f"{result.file.source}: {warning}", style="yellow", markup=False)
    if counts[Outcome.FAILED]:
        errors.print(f"malla: {counts[Outcome.FAILED]} of {len(results)} files failed:", style="red")
        for result in results:
            if result.outcome is Outcome.FAILED:
                errors.print(f"  {result.file.source}: {result.reason}")


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _facts(collection: str, results: Sequence[FileResult], failed: Sequence[FileResult]) -> dict[str, Any]:
    return {
        "success": not failed,
        "message": f"{len(results) - len(failed)} of {len(results)} files are in '{collection}'.",
        "collection_id": collection,
        "seq": max((result.seq for result in results), default=0),
        "files": [
            {
                "path": str(result.file.path),
                "document_id": result.file.document_id,
                "outcome": result.outcome.value,
                "chunks": result.chunks,
                "reason": result.reason,
                "warnings": list(result.warnings),
            }
            for result in results
        ],
    }
