"""The whole mesh before a model that fails in all its ways, and callers who leave, are slow, or send what is no message."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from malla.chat.v1 import chat_pb2
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from common.channel import open_channel
from common.errors import MallaError
from tests.e2e.mesh import Mesh, eventually, sse, started
from tests.e2e.streams import TALKS, Talk
from tests.fakes.llm_upstream import Act, Upstream, made_key, upstream_beside
from tests.fakes.waiting import until
from tests.integration.test_chat_faults import FAULTS, SECRET

CHAT = "/api/v1/groq/chat"
STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
MIB = 1024 * 1024
MOST_GROWTH_BYTES = 48 * MIB
CLIENTS = 16
ENDLESS = Act(words=["x" * 1000] * 4000)  # four times as long as any answer may be
SETTINGS = {
    "GROQ_TIMEOUT": "1",
    "GROQ_MAX_TOKENS": "32768",
    "MALLA_LLM_IDLE_TIMEOUT_S": "1",
    "MALLA_LLM_RETRIES": "0",
    "MALLA_LLM_BREAKER_FAILURES": "1000",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_beside() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def mesh_before(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that asks the upstream."""
    folder: Path = tmp_path_factory.mktemp("upstream")
    with started(folder, GROQ_API_KEY=made_key(), GROQ_BASE_URL=upstream.url, **SETTINGS) as mesh:
        with mesh.http() as http:
            made = http.post("/api/v1/agents", json={"name": "Ana", "model": "has-no-successor"})
            assert made.json()["agent"]["id_agente"] == 1, made.text
        yield mesh


@pytest.fixture
def http(mesh_before: Mesh) -> Iterator[httpx.Client]:
    with mesh_before.http() as http:
        yield http


def message(session: str, mensaje: str = "hola", **fields: Any) -> dict[str, Any]:
    return {"id_agente": 1, "session_id": session, "mensaje": mensaje, **fields}


def turns(http: httpx.Client, session: str) -> list[dict[str, Any]]:
    read = http.get(f"/api/v1/conversations/{session}")
    assert read.status_code == 200, read.text
    return list(read.json()["conversation"]["turns"])


async def heard(talk: Talk, mesh: Mesh, session: str) -> list[dict[str, Any]]:
    """Reads a stream to its end; gRPC has the failure behind its event, too."""
    events = []
    try:
        async with aclosing(talk(mesh, session)) as stream:  # type: ignore[type-var]
            async for event in stream:
                events.append(event)
    except MallaError as error:
        assert error.reason == events[-1]["error"]["type"]
    return events


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_model_is_told_over_every_way_in_and_stored(mesh_before: Mesh, upstream: Upstream, name: str):
    act, code, reason, said = FAULTS[name]
    ways, slug = len(TALKS) + 1, name.replace(" ", "-")
    asked = len(upstream.chats)
    upstream.then(*[act] * ways)
    async with httpx.AsyncClient(base_url=mesh_before.url, headers={"authorization": f"Bearer {mesh_before.token}"}) as http:
        whole, *streams = await asyncio.gather(
            http.post(CHAT, json=message(f"whole-{slug}"), timeout=20),
            *(heard(talk, mesh_before, f"{kind}-{slug}") for kind, talk in TALKS),
        )
    assert whole.status_code == STATUS[code], whole.text
    body = whole.json()
    assert (body["success"], body["error"]["type"], body["error"]["code"]) == (False, reason, code.name)
    assert ("retry-after" in whole.headers) == (code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE})
    for events in streams:
        kinds = [next(key for key in event if key != "sequence") for event in events]
        assert kinds == ["retrieval", *["delta"] * bool(said), "error"]
        assert (events[-1]["error"]["type"], events[-1]["error"]["code"]) == (reason, code.name)
        assert events[-1]["error"]["message"] == body["message"]
    assert SECRET not in whole.text + str(streams)
    assert len(upstream.chats) - asked == ways, "somebody on the way tried again"
    with mesh_before.http() as http:
        for way in ("whole", *(kind for kind, _ in TALKS)):
            user, answer = turns(http, f"{way}-{slug}")
            assert (user["state"], answer["state"], answer["finish_reason"]) == ("COMPLETE", "FAILED", "error")
            assert answer["text"] == said


@pytest.mark.parametrize(("kind", "talk"), TALKS, ids=[kind for kind, _ in TALKS])
async def test_a_caller_who_leaves_stops_the_model_within_100_ms(mesh_before: Mesh, upstream: Upstream, kind: str, talk: Talk):
    delays = []
    for number in range(3):
        asked = len(upstream.chats)
        upstream.then(Act(words=["Sin ", "señal."], hang="next"))
        left = await until_said(talk(mesh_before, f"left-{kind}-{number}"))
        gone = await until(lambda asked=asked: upstream.chats[asked].left_at)
        delays.append(gone - left)
    assert min(delays) < 0.1, delays  # of three, for the machine may be busy
    with mesh_before.http() as http:
        for number in range(3):
            eventually(
                lambda number=number: turns(http, f"left-{kind}-{number}")[1]["state"] == "CANCELLED",
                within_s=10,
                what="the turn is marked",
            )
            cut = turns(http, f"left-{kind}-{number}")[1]
            assert (cut["text"], cut["finish_reason"], cut["usage"]["estimated"]) == ("Sin ", "cancelled", True)
            assert cut["usage"]["output_tokens"] > 0


async def until_said(stream: AsyncIterator[dict[str, Any]]) -> float:
    """Reads until the first piece of the answer, and leaves; returns when that was."""
    async with aclosing(stream) as events:  # type: ignore[type-var]
        async for event in events:
            if "delta" in event:
                return time.monotonic()
    raise AssertionError("the stream ended without a delta")


async def test_two_streams_on_one_session_are_answered_one_after_the_other(mesh_before: Mesh, upstream: Upstream):
    upstream.then(Act(words=["Uno."] * 10, pause_s=0.02), Act(words=["Dos."]))
    first, second = await asyncio.gather(*(heard(talk, mesh_before, "two") for _, talk in TALKS[:2]))
    assert {first[-1]["done"]["answer"], second[-1]["done"]["answer"]} == {"Uno." * 10, "Dos."}
    with mesh_before.http() as http:
        assert [turn["text"] for turn in turns(http, "two")] == ["hola", "Uno." * 10, "hola", "Dos."]
    assert upstream.chats[-1].body["messages"][-2] == {"role": "assistant", "content": "Uno." * 10}


# ------------------------------------------------------------------------------------------------------------------- memory


@pytest.fixture(scope="module")
def on_the_way(mesh_before: Mesh) -> list[int]:
    """The processes on a chat's way."""
    pids = [p["pid"] for p in mesh_before.status()["processes"] if p["name"] in {"query", "gateway", "proxy"}]
    assert len(pids) == 3
    return pids


def memory_bytes(pids: list[int]) -> int:
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(status.partition("VmRSS:")[2].split()[0]) for status in statuses) * 1024


def test_a_model_that_does_not_stop_is_stopped(http: httpx.Client, upstream: Upstream) -> None:
    asked = len(upstream.chats)
    upstream.then(ENDLESS)
    done = sse(http, f"{CHAT}/stream", message("endless", max_tokens=20))[-1]["done"]
    assert done["finish_reason"] == "length"
    assert 0 < len(done["answer"]) < 10_000
    assert done["usage"]["estimated"] is True
    eventually(lambda: upstream.chats[asked].left_at is not None, within_s=10, what="the model's connection is closed")
    answer = turns(http, "endless")[1]
    assert (answer["state"], answer["finish_reason"], answer["text"]) == ("COMPLETE", "length", done["answer"])


class OneByteASecond:
    """A client with the smallest of buffers that reads a byte when it is told."""

    def __init__(self, mesh: Mesh, session: str) -> None:
        edge = urlsplit(mesh.url)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((edge.hostname, edge.port))
        self.socket.settimeout(10)
        body = json.dumps(message(session)).encode()
        head = f"POST {CHAT}/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {mesh.token}\r\nconnection: close\r\n"
        self.socket.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    def rest(self) -> bytes:
        return b"".join(iter(lambda: self.socket.recv(65_536), b""))


def answered(http: httpx.Client, session: str) -> bool:
    return bool(http.post(CHAT, json=message(session)).json()["answer"])


def test_clients_that_read_a_byte_a_second_cost_no_memory_and_hold_nobody_up(
    http: httpx.Client, mesh_before: Mesh, upstream: Upstream, on_the_way: list[int]
) -> None:
    upstream.then(ENDLESS)
    sse(http, f"{CHAT}/stream", message("warm"))  # whatever is kept for good is there now
    before, asked = memory_bytes(on_the_way), len(upstream.chats)
    upstream.then(*[ENDLESS] * CLIENTS)
    with ExitStack() as stack:
        slow = []
        for number in range(CLIENTS):
            slow.append(OneByteASecond(mesh_before, f"slow-{number}"))
            stack.callback(slow[-1].socket.close)
            assert slow[-1].socket.recv(1) == b"H"  # it is being answered
        eventually(lambda: len(upstream.chats) == asked + CLIENTS, within_s=20, what="the model talks to each of them")
        most = 0
        for second in range(3):
            for client in slow:
                assert len(client.socket.recv(1)) == 1
            most = max(most, memory_bytes(on_the_way))
            # Not at the first try on a machine so busy that the model's second for a first token is over before it is heard.
            eventually(
                lambda second=second: answered(http, f"quick-{second}"), within_s=20, what="others are answered meanwhile"
            )
            time.sleep(1)  # what is tested: a byte a second
        assert most - before < MOST_GROWTH_BYTES, f"{(most - before) / MIB:.0f} MiB"
        last = slow[0].rest().rpartition(b"data: ")[2]
        assert b'"done"' in last, "who reads on has it all"
    for number in range(CLIENTS):
        eventually(
            lambda number=number: turns(http, f"slow-{number}")[1]["state"] != "RUNNING",
            within_s=10,
            what="every turn is marked",
        )


def test_messages_of_a_megabyte_are_refused_and_cost_no_memory(
    http: httpx.Client, mesh_before: Mesh, upstream: Upstream, on_the_way: list[int]
) -> None:
    asked, text = len(upstream.chats), "x" * 1_000_000
    before = memory_bytes(on_the_way)
    for _ in range(10):
        for path in (CHAT, f"{CHAT}/stream"):
            refused = http.post(path, json=message("mega", text))
            assert (refused.status_code, refused.json()["error"]["type"]) == (400, "INVALID_ARGUMENT")
            assert "mensaje" in refused.json()["message"]
            assert len(refused.content) < 2000
    url = f"{mesh_before.url.replace('http', 'ws')}{CHAT}/stream/mega/1"
    with connect(url, additional_headers={"authorization": f"Bearer {mesh_before.token}"}) as client:
        client.send(json.dumps({"mensaje": text}))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert memory_bytes(on_the_way) - before < MOST_GROWTH_BYTES
    assert len(upstream.chats) == asked
    assert http.get("/api/v1/conversations/mega").status_code == 404


NO_TEXT = {"latin-1": b"se\xf1al", "cut": b"se\xc3", "surrogate": b"\xed\xa0\x80", "escaped surrogate": b"\\ud800"}


@pytest.mark.parametrize("mensaje", NO_TEXT.values(), ids=NO_TEXT.keys())
@pytest.mark.parametrize("path", [CHAT, f"{CHAT}/stream"])
def test_a_message_that_is_no_utf8_is_refused(http: httpx.Client, path: str, mensaje: bytes) -> None:
    content = b'{"id_agente": 1, "session_id": "no-text", "mensaje": "%b"}' % mensaje
    refused = http.post(path, content=content, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert http.get("/api/v1/conversations/no-text").status_code == 404


@pytest.mark.parametrize("mensaje", [b"se\xf1al", b"x" * 1_000_000], ids=["no UTF-8", "1 MB"])
async def test_a_grpc_message_that_is_none_is_refused(mesh_before: Mesh, http: httpx.Client, mensaje: bytes) -> None:
    marked = chat_pb2.ChatRequest(id_agente=1, session_id="no-text", mensaje="#" * len(mensaje)).SerializeToString()
    data, metadata = marked.replace(b"#" * len(mensaje), mensaje), [("authorization", f"Bearer {mesh_before.token}")]
    async with open_channel(mesh_before.url.removeprefix("http://")) as channel:
        calls = (
            channel.unary_unary("/malla.chat.v1.ChatService/Chat")(data, metadata=metadata, timeout=10),
            channel.unary_stream("/malla.chat.v1.ChatService/StreamChat")(data, metadata=metadata, timeout=10).read(),
        )
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert len(refused.value.details() or "") < 500
    assert http.get("/api/v1/conversations/no-text").status_code == 404  # noqa: ASYNC212  # nothing else runs
