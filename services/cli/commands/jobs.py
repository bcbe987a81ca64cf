"""`malla jobs`."""

from __future__ import annotations

from typing import Annotated

import typer

from common.client import MallaClient
from common.models import Job, JobState
from services.cli.data_dir import DataDir, settings_for
from services.cli.output import CliError, JsonFlag, console, print_json
from services.cli.session import call, find_edge
from services.cli.tables import WholeTable

app = typer.Typer(help="Jobs, which make documents searchable.", rich_markup_mode=None)

JobId = Annotated[str, typer.Argument(help="The job.", metavar="JOB")]

_STATES = [state.value for state in JobState if state is not JobState.STATE_UNSPECIFIED]


@app.callback()
def jobs() -> None:
    """Jobs, which make documents searchable."""


@app.command("list")
def list_all(
    collection: Annotated[str, typer.Option("--collection", "-c", help="Of this collection only.")] = "",
    state: Annotated[str, typer.Option("--state", "-s", help=f"In this state only: {', '.join(_STATES)}.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The most to list.")] = 50,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first."""
    wanted = _state(state)

    async def work(client: MallaClient) -> list[Job]:
        found: list[Job] = []
        async for job in client.list_jobs(collection, state=wanted, page_size=min(limit, 1000)):
            found.append(job)
            if len(found) == limit:
                break
        return found

    found = call(find_edge(settings_for(data_dir)), work)
    if as_json:
        print_json({"success": True, "message": f"{len(found)} jobs", "jobs": [job.model_dump(mode="json") for job in found]})
    elif found:
        console().print(_table(found))
    else:
        console().print("There is no such job.")


@app.command("watch")
def watch(job_id: JobId, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Follow a job to its end. Exit status 1 unless it succeeds."""

    def show(job: Job) -> None:
        if as_json:
            print_json(job)
        else:
            console().print(_line(job))

    ended = call(find_edge(settings_for(data_dir)), lambda client: client.wait_for_job(job_id, on_change=show))
    if ended.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)


@app.command("cancel")
def cancel(job_id: JobId, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """End a job that waits or runs, and remove what it stored."""
    job = call(find_edge(settings_for(data_dir)), lambda client: client.cancel_job(job_id))
    _tell(job, f"Job {job.job_id} of '{job.document_id}' is cancelled.", as_json)


@app.command("retry")
def retry(job_id: JobId, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Let a failed job be tried again."""
    job = call(find_edge(settings_for(data_dir)), lambda client: client.retry_job(job_id))
    _tell(job, f"Job {job.job_id} is {job.state.value.lower()}. Follow it: malla jobs watch {job.job_id}", as_json)


def _state(name: str) -> JobState:
    if name and name.upper() not in _STATES:
        raise CliError(f"There is no state '{name}'. Use one of: {', '.join(_STATES)}.")
    return JobState(name.upper()) if name else JobState.STATE_UNSPECIFIED


def _table(found: list[Job]) -> WholeTable:
    table = WholeTable()
    table.add_columns("job", "state", "chunks", "document")  # to be copied whole
    table.add_column("why", min_width=24, overflow="fold")
    for job in found:
        table.add_row(job.job_id, job.state.value, _chunks(job), f"{job.collection_id}/{job.document_id}", why(job))
    return table


def _line(job: Job) -> str:
    stage = f" {job.stage.value.lower()}" if job.state is JobState.RUNNING else ""
    return " ".join(part for part in (f"{job.state.value}{stage}", _chunks(job), why(job)) if part)


def _chunks(job: Job) -> str:
    return f"{job.chunks_done}/{job.chunks_total}" if job.chunks_total else ""


def why(job: Job) -> str:
    """Returns why a job failed or waits, or what of the document it did not read; empty where it did it all."""
    if job.error is None:
        return " ".join(job.warnings)
    return str(job.error.details.get("message") or job.error.type)


def _tell(job: Job, message: str, as_json: bool) -> None:
    if as_json:
        print_json({"success": True, "message": message, "job": job.model_dump(mode="json")})
    else:
        console().print(message)
