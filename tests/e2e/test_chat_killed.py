"""The query server dies in the middle of many answers: no clean silent end, and every conversation is marked."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from common.errors import MallaError
from common.settings import REPOSITORY
from tests.e2e.mesh import Mesh, eventually, kill, started
from tests.e2e.streams import TALKS, RefusedError, Talk
from tests.fakes.llm_upstream import made_key

STREAMS = [(talk, f"{kind}-{number}") for number, (kind, talk) in enumerate(islice(cycle(TALKS), 20))]
PAUSE_MS = 40


@contextmanager
def slow_model(pause_ms: int = PAUSE_MS) -> Iterator[str]:
    """A model that takes two hundred pauses for an answer: eight seconds where nothing is said."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, REPOSITORY / "bench" / "peers" / "upstream.py", str(port), str(pause_ms)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(
                lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, within_s=10, what="the model listens"
            )
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def end_of(mesh: Mesh, talk: Talk, session: str, begun: asyncio.Semaphore) -> str:
    """Returns how the stream ended: done, error, cut, refused, or silent."""
    last = ""
    try:
        async with aclosing(talk(mesh, session)) as events:  # type: ignore[type-var]
            async for event in events:
                last = next(key for key in event if key != "sequence")
                if event["sequence"] == 3:
                    begun.release()
    except RefusedError:
        return "refused"
    except (httpx.HTTPError, ConnectionClosed, MallaError, OSError):
        return "cut"
    return last if last in {"done", "error"} else "silent"


@pytest.mark.timeout(300)
async def test_every_stream_ends_in_an_error_or_a_cut_and_every_turn_is_marked(tmp_path: Path) -> None:
    with slow_model() as url, started(tmp_path / "killed", GROQ_API_KEY=made_key(), GROQ_BASE_URL=url) as mesh:
        with mesh.http() as http:
            assert http.post("/api/v1/agents", json={"name": "Ana"}).status_code == 200
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(end_of(mesh, talk, session, begun)) for talk, session in STREAMS]
        for _ in STREAMS:
            await asyncio.wait_for(begun.acquire(), 30)
        kill(mesh.process("query")["pid"])
        ends = await asyncio.wait_for(asyncio.gather(*streams), 60)
        assert set(ends) <= {"error", "cut"}, ends
        eventually(lambda: all_marked(mesh), within_s=30, what="every turn is marked")


def all_marked(mesh: Mesh) -> bool:
    with mesh.http() as http:
        for _, session in STREAMS:
            turns = http.get(f"/api/v1/conversations/{session}").json()["conversation"]["turns"]
            if [turn["role"] for turn in turns] != ["USER", "ASSISTANT"] or turns[1]["state"] != "FAILED":
                return False
    return True
