"""The `malla` command: its commands, and one place where failures become one line and an exit status."""

from __future__ import annotations

import json
import os
import sys

import typer
from pydantic import ValidationError

from common.errors import MallaError
from services.cli.commands import (
    agents,
    ask,
    audit,
    call,
    certs,
    chat,
    demo,
    doctor,
    down,
    evaluate,
    ingest,
    jobs,
    logs,
    reindex,
    restart,
    search,
    status,
    token,
    up,
    usage,
)
from services.cli.output import CliError, error_console
from services.cli.settings import CliSettings

app = typer.Typer(
    name="malla",
    help="Answers questions from an organisation's own documents, over a gRPC mesh.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("call")(call.call)
app.command("doctor")(doctor.doctor)
app.command("restart")(restart.restart)
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("audit")(audit.audit)
app.command("ingest")(ingest.ingest)
app.command("reindex")(reindex.reindex)
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("usage")(usage.usage)
app.command("eval")(evaluate.evaluate)
app.command("demo")(demo.demo)
app.add_typer(agents.app, name="agents")
app.add_typer(certs.app, name="certs")
app.add_typer(jobs.app, name="jobs")
app.add_typer(token.app, name="token")

_INTERRUPTED = 130


def main() -> None:
    """Runs `malla`. Exit status 0; 1 for a failure; 2 for wrong usage; 130 for Ctrl-C."""
    sys.exit(_run(sys.argv[1:] or ["--help"]))


def _run(arguments: list[str]) -> int:
    try:
        status = app(args=arguments, prog_name="malla", standalone_mode=False)
    except typer.TyperException as error:
        return _misused(arguments, error)
    except MallaError as error:
        return _fail(arguments, error.message, error.reason, error.code.value)
    except CliError as error:
        return _fail(arguments, str(error), "FAILED", "", error.lines)
    except ValidationError as error:
        if error.title != CliSettings.__name__:
            raise  # not a setting: a bug
        first = error.errors()[0]
        setting = "_".join(str(part) for part in first["loc"]).upper()
        return _fail(arguments, f"The setting MALLA_{setting} is wrong: {first['msg']}.", "INVALID_SETTING", "")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has enough; Python shall not complain
        return 1
    except OSError as error:
        return _fail(arguments, f"{error.filename}: {error.strerror}. Choose another --data-dir or file.", "FAILED", "")
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    return status if isinstance(status, int) else 0


def _misused(arguments: list[str], error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "malla"
    message = error.format_message().rstrip(".")
    return _fail(arguments, f"{message}. See {command} --help", "INVALID_USAGE", "", status=error.exit_code)


def _fail(arguments: list[str], message: str, reason: str, code: str, lines: list[str] | None = None, status: int = 1) -> int:
    if "--json" in arguments:
        body = {"success": False, "message": message, "error": {"type": reason, "code": code, "details": {}}, "metadata": {}}
        sys.stderr.write(json.dumps(body, ensure_ascii=False) + "\n")
        return status
    console = error_console()
    console.print(f"malla: {' '.join(message.split())}", style="red")
    for line in lines or []:
        console.print(f"  {line}", style="dim")
    return status
