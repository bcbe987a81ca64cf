"""`malla reindex`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from common.client import MallaClient
from common.models import Job, JobState
from services.cli.commands.jobs import why
from services.cli.data_dir import DataDir, settings_for
from services.cli.output import JsonFlag, console, error_console, print_json
from services.cli.session import call, find_edge

_TIMEOUT_S = 24 * 3600.0


def reindex(
    model: Annotated[
        str, typer.Option("--model", "-m", help="The embedding model; the one that is configured if not given.")
    ] = "",
    collection: Annotated[str, typer.Option("--collection", "-c", help="The collection; all of them if not given.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait; `malla jobs watch` follows a job.")] = False,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Compute vectors anew with another embedding model; searches go on meanwhile. Exit status 1 unless all succeed.

    Ctrl-C ends the waiting, not the work.
    """

    async def work(client: MallaClient) -> list[Job]:
        names = [collection] if collection else [known.collection_id async for known in client.list_collections()]
        jobs = [await client.reindex_collection(name, model=model) for name in names]
        return jobs if detach else await _followed(client, jobs)

    jobs = call(find_edge(settings_for(data_dir)), work)
    if as_json:
        print_json({"success": True, "message": _told(jobs), "jobs": [job.model_dump(mode="json") for job in jobs]})
    else:
        for job in jobs:
            console().print(_line(job))
        if not jobs:
            console().print("There is no collection.")
    if not detach and any(job.state is not JobState.SUCCEEDED for job in jobs):
        raise typer.Exit(1)


async def _followed(client: MallaClient, jobs: list[Job]) -> list[Job]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    ended = []
    with Progress(*columns, console=error_console(), transient=True) as progress:
        bars = {job.job_id: progress.add_task(job.collection_id, total=None) for job in jobs}

        def show(job: Job) -> None:
            total = job.chunks_total or None
            progress.update(bars[job.job_id], completed=job.chunks_done, total=total)

        for job in jobs:
            ended.append(await client.wait_for_job(job.job_id, timeout_s=_TIMEOUT_S, on_change=show))
    return ended


def _told(jobs: list[Job]) -> str:
    done = sum(job.state is JobState.SUCCEEDED for job in jobs)
    return f"{done} of {len(jobs)} collections reindexed"


def _line(job: Job) -> str:
    said = f"{job.collection_id}: {job.state.value} {job.chunks_done}/{job.chunks_total} with {job.model}"
    if not job.state.is_final:
        return f"{said}. Follow it: malla jobs watch {job.job_id}"
    return f"{said}. {why(job)}" if why(job) else said
