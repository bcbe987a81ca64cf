"""The `malla` command: its commands, and one place where failures become one line and an exit status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from common.errors import MallaError, RemoteError
from services.cli.loading import LoadedWhenUsed, Place
from services.cli.output import CliError, error_console, without_kind
from services.cli.text import not_text, usable_streams


class Commands(LoadedWhenUsed):
    """All commands; a test compares each line with what the command says of itself."""

    places = {  # noqa: RUF012  # the base class says ClassVar
        "up": Place("up", "Start the mesh and keep it running until Ctrl-C or `malla down`."),
        "down": Place("down", "Stop the mesh: let calls end, then stop every process."),
        "call": Place("call", "Call any method by its name."),
        "doctor": Place("doctor", "Check everything and say what to do."),
        "restart": Place("restart", "Restart processes one after the other, while calls go on"),
        "status": Place("status", "Show every process and whether it serves now."),
        "logs": Place("logs", "Show the logs of all processes as one, in the order of time."),
        "audit": Place("audit", "Show who changed what, spent words or was refused."),
        "ingest": Place("ingest", "Ingest files and folders."),
        "reindex": Place("reindex", "Compute vectors anew with another embedding model"),
        "search": Place("search", "Find the passages that fit a question."),
        "ask": Place("ask", "Answer a question from a collection, word by word"),
        "chat": Place("chat", "Talk with an agent."),
        "usage": Place("usage", "Show the tokens consumed, what they cost and what is left"),
        "eval": Place("evaluate", "Measure retrieval on a question file"),
        "demo": Place("demo", "Show everything once"),
        "agents": Place("agents", "Agents, whom visitors talk to."),
        "certs": Place("certs", "Certificates by which the servers of a mesh know each other"),
        "jobs": Place("jobs", "Jobs, which make documents searchable."),
        "token": Place("token", "Tokens that open the edge, and the keys that sign them."),
    }


app = typer.Typer(
    name="malla",
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # nothing else needs it

        sys.stdout.write(f"malla {version('malla')}\n")
        raise typer.Exit


@app.callback()
def malla(
    _asked: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Answers questions from an organisation's own documents, over a gRPC mesh."""


_INTERRUPTED = 130


def main() -> None:
    """Runs `malla`. Exit status 0; 1 for a failure; 2 for wrong usage; 130 for Ctrl-C."""
    usable_streams()
    sys.exit(_run(sys.argv[1:] or ["--help"]))


def _run(arguments: list[str]) -> int:
    try:
        status = app(args=arguments, prog_name="malla", standalone_mode=False)
    except typer.TyperException as error:
        return _misused(arguments, error)
    except MallaError as error:
        return _failed_call(arguments, error)
    except CliError as error:
        return _fail(arguments, str(error), "FAILED", "", error.lines)
    except UnicodeError as error:
        if not (said := not_text(error, arguments)):
            raise  # neither given nor read: a bug
        return _fail(arguments, said, "INVALID_USAGE", "")
    except ValueError as error:
        from common.settings import wrong_setting  # who sees an error has waited anyway; who sees help shall not

        if not (setting := wrong_setting(error)):
            raise  # no setting: a bug
        return _fail(arguments, setting, "INVALID_SETTING", "")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has enough; Python shall not complain
        return 1
    except OSError as error:
        return _fail(arguments, _said_by_system(error), "FAILED", "")
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    return status if isinstance(status, int) else 0


def _said_by_system(error: OSError) -> str:
    if error.filename is None:  # no file was opened: what is written to was there before
        return f"The output cannot be written: {error.strerror}. Send it elsewhere."
    return f"{error.filename}: {error.strerror}. Choose another --data-dir or file."


def _misused(arguments: list[str], error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "malla"
    message = without_kind(error.format_message()).rstrip(".")
    end = "" if message.endswith("?") else "."
    return _fail(arguments, f"{message}{end} See {command} --help", "INVALID_USAGE", "", status=error.exit_code)


def _failed_call(arguments: list[str], error: MallaError) -> int:
    metadata = {"request_id": error.request_id} if isinstance(error, RemoteError) and error.request_id else {}
    return _fail(arguments, error.message, error.reason, error.code.value, details=error.details, metadata=metadata)


def _fail(
    arguments: list[str],
    message: str,
    reason: str,
    code: str,
    lines: list[str] | None = None,
    status: int = 1,
    *,
    details: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> int:
    if "--json" in arguments:
        told = {"type": reason, "code": code, "details": dict(details or {})}
        body = {"success": False, "message": message, "error": told, "metadata": dict(metadata or {})}
        sys.stderr.write(json.dumps(body, ensure_ascii=False, default=str) + "\n")
        return status
    console = error_console()
    console.print(f"malla: {' '.join(message.split())}", style="red")
    for line in lines or []:
        console.print(f"  {line}", style="dim")
    return status
