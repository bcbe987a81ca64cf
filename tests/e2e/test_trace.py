"""One trace from the edge to the model, on JSON, gRPC and WebSocket alike: real Envoy, real processes, a real collector."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from malla.chat.v1 import chat_pb2, chat_pb2_grpc
from websockets.asyncio.client import connect

from tests.e2e.mesh import Mesh, create_collection, finished_job, started
from tests.fakes.llm_upstream import Act, Upstream, made_key, running_upstream
from tests.fakes.otlp import Collector, Span, only, path_to, running_collector, tree
from tests.fakes.waiting import until

STREAM = "malla.chat.v1.ChatService/StreamChat"
EMBED = "malla.embedding.v1.InternalEmbeddingService/InternalEmbed"
MODEL = "llama-3.1-8b-instant"
QUESTION = "¿Cuánto tarda la instalación secreta?"
DOCUMENT = "La instalación secreta de la fibra tarda 48 horas."
ANSWER = ("Tarda ", "cuarenta ", "y ocho ", "horas [1].")

EDGE = ["malla-proxy: edge POST (server)", "malla-proxy: router query egress (client)", f"malla-query: {STREAM} (server)"]
EMBEDDED = [
    "malla-query: retrieval (internal)",
    f"malla-query: {EMBED} (client)",
    "malla-proxy: mesh POST (server)",
    "malla-proxy: router embedding egress (client)",
    f"malla-embedding: {EMBED} (server)",
]


@dataclass
class Traced:
    """A mesh that is watched."""

    mesh: Mesh
    collector: Collector
    upstream: Upstream
    key: str

    async def trace_of(self, trace_id: str, names: Sequence[str]) -> list[Span]:
        return await self.collector.whole_trace(trace_id, names)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def traced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    """The embedded mesh with its standard variables set, one agent and one document."""
    key = made_key()
    async with running_collector() as collector, running_upstream() as upstream:
        upstream.default = Act(words=ANSWER)
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        told |= {"OTEL_METRIC_EXPORT_INTERVAL": "500", "GROQ_API_KEY": key, "GROQ_BASE_URL": upstream.url}
        with ExitStack() as stack:
            block = started(tmp_path_factory.mktemp("traced"), **told)
            mesh = await asyncio.to_thread(stack.enter_context, block)
            try:
                await asyncio.to_thread(_prepare, mesh)
                yield Traced(mesh, collector, upstream, key)
            finally:
                await asyncio.to_thread(stack.close)


def _prepare(mesh: Mesh) -> None:
    with mesh.http() as http:
        create_collection(http, "manual", language="es")
        sent = {"text": DOCUMENT, "document_id": "plazos"}
        accepted = http.post("/api/v1/collections/manual/documents", json=sent, headers=_begun(UPLOAD))
        assert finished_job(http, accepted.json()["job_id"])["state"] == "SUCCEEDED"
        agent = {"name": "Ana", "language": "es", "collections": ["manual"]}
        assert http.post("/api/v1/agents", json=agent).json()["agent"]["id_agente"] == 1


UPLOAD = secrets.token_hex(16)


def _begun(trace_id: str) -> dict[str, str]:
    """The header of a caller that traces its own work."""
    return {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}


def _message(session: str) -> dict[str, Any]:
    # Each question is another one: a remembered question is not embedded again.
    return {"id_agente": 1, "mensaje": f"{QUESTION} ({session})", "session_id": session, "origin": "web"}


async def test_a_chat_over_json_is_one_trace(traced: Traced) -> None:
    trace_id = secrets.token_hex(16)
    headers = {"authorization": f"Bearer {traced.mesh.token}", "x-request-id": "json-1", **_begun(trace_id)}
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream("POST", f"{traced.mesh.url}/api/v1/groq/chat/stream", json=_message("json"), headers=headers) as response,
    ):
        events = [json.loads(line.removeprefix("data: ")) async for line in response.aiter_lines() if line.strip()]
    assert "done" in events[-1], events
    spans = await traced.trace_of(trace_id, ["edge POST", STREAM, "embedding batch", f"chat {MODEL}"])
    _assert_chat(spans, EDGE)
    edge = only(spans, "edge POST")
    assert edge.parent_id == "00f067aa0ba902b7", "the caller's span is the parent of ours"
    assert edge.facts["http.url"] == "/api/v1/groq/chat/stream"
    assert only(spans, STREAM, malla__request_id="json-1", malla__tenant_id="default")
    print(tree(spans, _shown))  # noqa: T201  # the README's picture of a trace; pytest shows it with -s


async def test_a_chat_over_grpc_is_one_trace(traced: Traced) -> None:
    trace_id = secrets.token_hex(16)
    metadata = (("authorization", f"Bearer {traced.mesh.token}"), *_begun(trace_id).items())
    async with grpc.aio.insecure_channel(traced.mesh.url.removeprefix("http://")) as channel:
        call = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(
            chat_pb2.ChatRequest(**_message("grpc")), metadata=metadata, timeout=30
        )
        events = [event async for event in call]
    assert events[-1].HasField("done"), events
    spans = await traced.trace_of(trace_id, ["edge POST", STREAM, "embedding batch", f"chat {MODEL}"])
    _assert_chat(spans, EDGE)
    assert 0 < only(spans, STREAM).facts["malla.deadline_ms"] <= 30_000


async def test_a_turn_on_a_websocket_is_one_trace(traced: Traced) -> None:
    trace_id = secrets.token_hex(16)
    url = traced.mesh.url.replace("http", "ws") + "/api/v1/groq/chat/stream/ws/1"
    headers = {"authorization": f"Bearer {traced.mesh.token}", **_begun(trace_id)}
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        await socket.send(json.dumps({"mensaje": f"{QUESTION} (ws)"}))
        while "done" not in (event := json.loads(await socket.recv())):
            assert "error" not in event
        # A client that left before the call's status arrived would have cancelled it.
        await until(lambda: [span for span in traced.collector.trace(trace_id) if span.name == "chat turn"])
    names = ["edge GET", "chat turn", STREAM, "embedding batch", f"chat {MODEL}"]
    spans = await traced.trace_of(trace_id, names)
    socket_path = ["malla-proxy: edge GET (server)", "malla-proxy: router gateway egress (client)"]
    turn_path = [*socket_path, "malla-gateway: chat turn (server)", f"malla-gateway: {STREAM} (client)"]
    through_mesh = ["malla-proxy: mesh POST (server)", "malla-proxy: router query egress (client)"]
    _assert_chat(spans, [*turn_path, *through_mesh, f"malla-query: {STREAM} (server)"])


def _assert_chat(spans: Sequence[Span], served: list[str]) -> None:
    """Checks the tree of one answered message, parent by parent, below the query server's span."""
    shown = tree(spans, _shown)
    answered = next(span for span in spans if span.name == STREAM and span.service == "malla-query")
    assert path_to(spans, answered) == served, shown
    retrieval = only(spans, "retrieval")
    assert path_to(spans, retrieval) == [*served, EMBEDDED[0]], shown
    for name in ("embedding queue", "embedding batch"):
        assert path_to(spans, only(spans, name)) == [*served, *EMBEDDED, f"malla-embedding: {name} (internal)"], shown
    model = only(spans, f"chat {MODEL}")
    assert path_to(spans, model) == [*served, f"malla-query: chat {MODEL} (client)"], shown
    commands = [span for span in spans if span.facts.get("db.system.name") == "mongodb"]
    parents = {tuple(path_to(spans, span)[:-1]) for span in commands}
    assert tuple(served) in parents, shown
    assert parents <= {tuple(served), (*served, EMBEDDED[0])}, shown
    assert {"turns", "conversations"} <= {span.facts["db.collection.name"] for span in commands}
    assert not [span for span in spans if span.failed], shown
    assert retrieval.facts["malla.search.mode"] == "hybrid"
    assert retrieval.facts["malla.search.results"] == 1
    assert model.facts["gen_ai.usage.input_tokens"] == 11
    assert model.facts["gen_ai.usage.output_tokens"] == 3
    assert model.facts["gen_ai.response.time_to_first_chunk"] > 0
    assert model.facts["gen_ai.response.finish_reasons"] == ["stop"]
    assert answered.facts["rpc.response.status_code"] == "OK"


def _shown(span: Span) -> dict[str, Any]:
    names = ("rpc.response.status_code", "http.status_code", "malla.search.mode", "malla.search.results", "malla.batch.texts")
    names += ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.response.time_to_first_chunk")
    return {name: span.facts[name] for name in names if name in span.facts}


async def test_the_job_of_an_upload_is_in_the_uploads_trace(traced: Traced) -> None:
    names = ["edge POST", "ingestion job", "extract", "chunk", "embedding batch"]
    spans = await traced.trace_of(UPLOAD, names)
    create = "malla.ingestion.v1.IngestionService/CreateDocument"
    uploaded = ["malla-proxy: edge POST (server)", "malla-proxy: router ingestion egress (client)"]
    job = [*uploaded, f"malla-ingestion: {create} (server)", "malla-ingestion: ingestion job (consumer)"]
    assert path_to(spans, only(spans, "ingestion job")) == job, tree(spans)
    batch = path_to(spans, only(spans, "embedding batch"))
    assert batch[: len(job)] == job, tree(spans)
    assert batch[-2] == f"malla-embedding: {EMBED} (server)"
    assert only(spans, "embedding batch").facts["malla.lane"] == "bulk"
    assert only(spans, "ingestion job").facts["malla.job.chunks"] == 1


async def test_metrics_of_every_server_arrive(traced: Traced) -> None:
    names = ["rpc.server.call.duration", "malla.embedding.queue.texts", "malla.embedding.batch.texts", "malla.ingestion.jobs"]
    names += ["malla.ingestion.job.duration", "gen_ai.client.token.usage", "gen_ai.server.time_to_first_token"]
    names += ["malla.server.active_streams", "malla.index.collections", "malla.index.passages", "malla.index.size"]
    names += ["malla.usage.outbox", "malla.budget.open_calls"]
    for name in names:
        await until(lambda name=name: traced.collector.points(name))


async def test_a_log_line_of_a_call_names_its_trace_and_so_does_the_proxys(traced: Traced) -> None:
    trace_id = secrets.token_hex(16)
    headers = {"authorization": f"Bearer {traced.mesh.token}", **_begun(trace_id)}
    async with httpx.AsyncClient(timeout=30) as http:
        assert (await http.get(f"{traced.mesh.url}/api/v1/agents?page_size=7", headers=headers)).status_code == 200
    logs = traced.mesh.data_dir / "logs"

    def lines(name: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (logs / name).read_text().splitlines() if line.startswith("{")]
        return [row for row in rows if row.get("trace_id") == trace_id]

    (called,) = await until(lambda: lines("query.log"))
    await until(lambda: lines("access.log"))
    spans = await traced.trace_of(trace_id, ["edge GET"])
    assert called["span_id"] in {span.id for span in spans if span.kind == "server"}
    assert only(spans, "edge GET").facts["http.url"] == "/api/v1/agents", "a query string may hold anything"


async def test_nothing_of_what_was_said_and_no_secret_is_in_what_was_exported(traced: Traced) -> None:
    assert traced.collector.spans, "the tests before this one were traced"
    told = traced.collector.texts()
    for what in (QUESTION, "instalación", "cuarenta", traced.key, traced.mesh.token, traced.mesh.token.rpartition(".")[2]):
        assert what not in told
        assert what.encode("unicode_escape").decode() not in told
