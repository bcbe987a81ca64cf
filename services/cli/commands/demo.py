"""`malla demo`."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from common.client import MallaClient
from common.models import Done
from common.settings import REPOSITORY
from services.cli.answers import show_citations, stream_answer
from services.cli.commands.ingest import ingest_all, show_results
from services.cli.files import find_files
from services.cli.ingesting import Outcome
from services.cli.launcher.control import LaunchError, start_detached, stop_mesh
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.state import MeshState, read_state
from services.cli.output import CliError, JsonFlag, console, print_json, write
from services.cli.questions import Question, read_questions
from services.cli.session import Edge, call

SAMPLES = REPOSITORY / "samples"
COLLECTION = "nopal-fibra"
_LANGUAGES = ("es", "en")
_AT_ONCE = 4


def demo(as_json: JsonFlag = False) -> None:
    """Show everything once: start a mesh, ingest the sample documents, ask in Spanish and English, stop. Leaves nothing."""
    questions = _chosen(read_questions(SAMPLES / "questions.jsonl"))
    began = time.monotonic()
    with _temporary_mesh(as_json) as state:
        _say(
            as_json,
            f"Ready after {time.monotonic() - began:.1f} s: {state.edge_url} (documentation at {state.edge_url}/docs)\n",
        )
        _ingest(state, as_json)
        answers = [_ask(state, question, as_json) for question in questions]
    seconds = time.monotonic() - began
    _say(as_json, f"Stopped; nothing is left. {seconds:.0f} s in all. Keep a mesh of your own: malla up --detach")
    if as_json:
        print_json(
            {
                "success": True,
                "message": f"{len(answers)} questions answered rightly.",
                "seconds": round(seconds, 1),
                "answers": [
                    {"question": question.question, **done.model_dump(mode="json")}
                    for question, done in zip(questions, answers, strict=True)
                ],
            }
        )


def _chosen(questions: list[Question]) -> list[Question]:
    return [next(question for question in questions if question.language == language) for language in _LANGUAGES]


@contextmanager
def _temporary_mesh(quiet: bool) -> Iterator[MeshState]:
    home = Path(tempfile.mkdtemp(prefix="malla-demo-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: stop everything, then end
    try:
        _say(quiet, f"Starting a mesh in {home} …")
        # The supervisor stops all in order if this process dies, whatever kills it.
        options = LaunchOptions(home, port=0, guarded=False, embedded=True)
        yield start_detached(options, dies_with_us=signal.SIGTERM)
    except LaunchError as error:
        raise CliError(str(error), error.log_tail) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # impatience would leave the folder behind
        if (state := read_state(home)) is not None:
            stop_mesh(state)
        shutil.rmtree(home, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ingest(state: MeshState, quiet: bool) -> None:
    files = find_files([SAMPLES / COLLECTION])
    _say(quiet, f"Ingesting {len(files)} documents of a fictional company's call centre …")
    edge = Edge(state.address, state.token)
    results = call(edge, lambda client: ingest_all(client, COLLECTION, "es", files, _AT_ONCE, quiet=quiet))
    if not quiet:
        show_results(COLLECTION, results)
    if any(result.outcome is Outcome.FAILED for result in results):
        raise CliError("Not every sample document could be ingested.")


def _ask(state: MeshState, question: Question, quiet: bool) -> Done:
    _say(quiet, f"\n? {question.question}")
    done = call(Edge(state.address, state.token), lambda client: _stream(client, question, quiet))
    if not quiet:
        show_citations(done.citations)
        if done.usage is not None:
            console().print(f"  {done.model} · {done.usage.total_tokens} tokens", style="dim")
    cited = {citation.document_id for citation in done.citations}
    evidence = "\n".join([done.answer, *(citation.text for citation in done.citations)])
    if question.document_id not in cited or not question.is_answered_by(evidence):
        expected = ", ".join(question.expected)
        raise CliError(f"The answer is wrong: it should cite {question.document_id} and say {expected}. Please report this.")
    return done


async def _stream(client: MallaClient, question: Question, quiet: bool) -> Done:
    async with aclosing(client.stream_query(COLLECTION, question.question)) as events:
        return await stream_answer(events, (lambda _text: None) if quiet else write)


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        console().print(text)
