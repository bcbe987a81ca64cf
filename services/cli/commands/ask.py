"""`malla ask`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer

from common.models import ChatEvent, SearchMode
from services.cli.answers import show_citations, stream_answer
from services.cli.commands.search import Collection, Mode, Passages
from services.cli.data_dir import DataDir, settings_for
from services.cli.output import JsonFlag, console, print_json
from services.cli.session import call, find_edge


def ask(
    question: Annotated[str, typer.Argument(help="The question, in any language.")],
    collection: Collection,
    k: Passages = 5,
    mode: Mode = SearchMode.HYBRID,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Answer a question from a collection, word by word, with the passages the answer rests on.

    With --json, one event a line, as they come.
    """
    answer = _events if as_json else _answer
    if not call(
        find_edge(settings_for(data_dir)), lambda client: answer(client.stream_query(collection, question, k=k, mode=mode))
    ):
        raise typer.Exit(1)


async def _answer(stream: AsyncGenerator[ChatEvent, None]) -> bool:
    async with aclosing(stream) as events:
        done = await stream_answer(events)
    if done.citations:
        console().print("")
        show_citations(done.citations)
    return True


async def _events(stream: AsyncGenerator[ChatEvent, None]) -> bool:
    complete = False
    async with aclosing(stream) as events:
        async for event in events:
            print_json(event.model_dump(mode="json", exclude_none=True))
            complete = event.done is not None
    return complete
