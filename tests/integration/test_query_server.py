"""The query server over gRPC, on a record and an embedder in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from malla.query.v1 import query_pb2 as pb
from malla.query.v1 import query_pb2_grpc as rpc

from common.errors import UnavailableError
from common.models import TokenUsage
from services.query.adapters.embedder import CachedEmbedder
from services.query.adapters.extractive import ExtractiveAnswerer
from services.query.bootstrap import Adapters, services
from services.query.ports import AnswerEnd, MostTokens
from services.query.settings import QuerySettings
from tests.fakes.accounting import LIMITS, MemoryAccounting
from tests.fakes.calls import Failure, metadata, refused
from tests.fakes.query import MemoryRecord, WordEmbedder
from tests.fakes.servers import channel_to
from tests.fakes.waiting import until

LIGHT = "La luz roja del módem indica que no hay señal óptica. La luz verde indica que todo funciona."
BILL = "La factura se paga el día cinco de cada mes en cualquier banco."
ROUTER = "The router must be returned within thirty days of the cancellation."


class Bench:
    """A running server, its record, and one tenant's calls."""

    def __init__(self, channel: grpc.aio.Channel, record: MemoryRecord, embedder: WordEmbedder) -> None:
        self.public, self.internal = rpc.QueryServiceStub(channel), rpc.InternalQueryServiceStub(channel)
        self.record, self.embedder = record, embedder

    def call(self, name: str, *, tenant: str = "acme", timeout: float = 10, **fields: Any) -> Any:
        kind = pb.SearchRequest if "Search" in name else pb.QueryRequest
        request = json_format.ParseDict({"collection_id": "manual", "query": "luz roja", **fields}, kind())
        stub = self.internal if name.startswith("Internal") else self.public
        return getattr(stub, name)(request, metadata=metadata(tenant, request_id="r1"), timeout=timeout)


@asynccontextmanager
async def serving(answerer: Any = None, **changes: Any) -> AsyncIterator[Bench]:
    record, words = MemoryRecord(), WordEmbedder()
    embedder = CachedEmbedder(words, 100)
    settings = QuerySettings(_env_file=None, port=0, drain_grace_s=1, **changes)
    # Agents, conversations and models belong to the chat; no call here reaches them.
    adapters = Adapters(record, embedder, answerer or ExtractiveAnswerer(embedder), *[None] * 3, MemoryAccounting())  # type: ignore[arg-type]
    async with channel_to(settings, services(settings, adapters, LIMITS)) as channel:
        collection = record.create()
        record.publish(collection, "luces", 1, LIGHT, metadata={"title": "Luces del módem", "tags": ["modem"]}, page=2)
        record.publish(collection, "facturas", 1, BILL, metadata={"title": "Facturas", "tags": ["pagos"]})
        record.publish(collection, "returns", 1, ROUTER, metadata={"title": "Returns"})
        yield Bench(channel, record, words)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving() as bench:
        yield bench


CALLS = ("Search", "Query", "StreamQuery", "InternalSearch", "InternalQuery")


@pytest.mark.parametrize("mode", ["MODE_UNSPECIFIED", "HYBRID", "DENSE", "LEXICAL"])
async def test_search_finds_the_passage_and_where_it_stands(bench: Bench, mode: str):
    response = await bench.call("Search", mode=mode, k=2)
    assert response.success
    assert response.seq == 3
    best = response.results[0]
    assert (best.document_id, best.chunk_id, best.page, best.text) == ("luces", "luces:1:0", 2, LIGHT)
    assert best.metadata["title"] == "Luces del módem"
    assert response.usage.input_tokens == (0 if mode == "LEXICAL" else 2)
    assert response.metadata["request_id"].string_value == "r1"


async def test_five_passages_where_no_number_is_asked_for(bench: Bench):
    collection = await bench.record.collection("acme", "manual")
    for i in range(9):
        bench.record.publish(collection, f"more-{i}", 1, f"luz roja número {i}")
    assert len((await bench.call("Search", min_seq=12)).results) == 5
    assert len((await bench.call("Search", k=8)).results) == 8


async def test_a_filter_keeps_what_matches(bench: Bench):
    response = await bench.call("Search", filter={"tags": "pagos"})
    assert [result.document_id for result in response.results] == ["facturas"]


BAD = {
    "an empty question": ({"query": ""}, "query"),
    "a blank question": ({"query": " \n "}, "query"),
    "an oversized question": ({"query": "x" * 4001}, "query"),
    "too many passages": ({"k": 101}, "k"),
    "fewer than none": ({"k": -1}, "k"),
    "an unknown operator": ({"filter": {"year": {"near": 1}}}, "filter.year"),
    "a wrong operand": ({"filter": {"year": {"in": "x"}}}, "filter.year"),
    "a negative change number": ({"min_seq": -1}, "min_seq"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("fields", "field"), BAD.values(), ids=BAD.keys())
async def test_bad_input_names_the_field(bench: Bench, name: str, fields: dict[str, Any], field: str):
    failure = await refused(bench.call(name, **fields))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.detail("BadRequest").field_violations[0].field == field
    assert field in failure.body.message
    assert_body(failure)


def assert_body(failure: Failure) -> None:
    assert (failure.body.success, failure.body.error.type, failure.body.error.code) == (
        False,
        failure.reason,
        failure.code.name,
    )
    assert failure.body.metadata["request_id"].string_value == "r1"


@pytest.mark.parametrize("name", CALLS)
async def test_an_unknown_collection_is_not_found_nor_is_another_tenants(bench: Bench, name: str):
    for call in (bench.call(name, collection_id="none"), bench.call(name, tenant="rival")):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
        assert "/api/v1/collections" in failure.message
        assert_body(failure)


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_needs_a_tenant_and_a_collection(bench: Bench, name: str):
    assert (await refused(bench.call(name, tenant=""))).reason == "UNAUTHENTICATED"
    assert (await refused(bench.call(name, collection_id=""))).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", CALLS)
async def test_without_vectors_the_call_is_unavailable_and_says_what_is_down(bench: Bench, name: str):
    bench.embedder.failure = UnavailableError("embedding server")
    failure = await refused(bench.call(name))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert "embedding server" in failure.message
    assert (await bench.call("Search", mode="LEXICAL")).results


async def test_a_write_that_does_not_come_ends_with_the_deadline():
    async with serving(search_timeout_s=0.1) as bench:
        started = time.monotonic()
        failure = await refused(bench.call("Search", min_seq=9))
        assert time.monotonic() - started < 3
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "change 9" in failure.message


async def test_a_search_waits_for_the_write_it_names(bench: Bench):
    collection = await bench.record.collection("acme", "manual")
    waiting = asyncio.ensure_future(bench.call("Search", query="garantía", min_seq=4))
    bench.record.publish(collection, "garantias", 1, "La garantía dura un año.")
    assert (await waiting).results[0].document_id == "garantias"


async def test_an_answer_cites_what_it_uses_and_says_how_it_was_made(bench: Bench):
    response = await bench.call("Query", query="¿Qué indica la luz roja del módem?")
    assert "no hay señal óptica" in response.answer
    assert "[1]" in response.answer
    assert response.model == "extractive"
    assert "GROQ_API_KEY" in response.metadata["notice"].string_value
    assert response.metadata["notice"].string_value in response.answer
    assert [citation.index for citation in response.citations] == [1]
    assert (response.citations[0].document_id, response.citations[0].title) == ("luces", "Luces del módem")
    stages = {stage.stage: stage for stage in response.usage.stages}
    assert list(stages) == ["query_embedding", "statement_embedding", "answer"]
    assert response.usage.total_tokens == sum(stage.total_tokens for stage in stages.values()) > 0


async def test_the_answer_is_in_the_questions_language(bench: Bench):
    spanish = await bench.call("Query", query="¿Cuándo se paga la factura?")
    english = await bench.call("Query", query="When must the router be returned?")
    assert "No hay ningún modelo" in spanish.answer
    assert "No language model" in english.answer
    assert "thirty days" in english.answer


async def test_nothing_found_is_said_and_cites_nothing(bench: Bench):
    response = await bench.call("Query", query="¿Qué indica la luz?", filter={"tags": "none"})
    assert response.answer.startswith("No encontré nada")
    assert not response.citations


async def test_the_internal_calls_answer_in_the_envelope(bench: Bench):
    found, answered = await bench.call("InternalSearch"), await bench.call("InternalQuery")
    assert found.success
    assert found.data.results[0].document_id == "luces"
    assert found.data.seq == 3
    public = await bench.call("Query")
    assert (answered.data.answer, answered.data.model) == (public.answer, public.model)
    assert answered.data.citations == public.citations
    assert answered.metadata["notice"].string_value
    assert not answered.HasField("error")


async def test_a_stream_tells_what_it_found_then_the_answer_then_its_end(bench: Bench):
    events = [event async for event in bench.call("StreamQuery", query="¿Qué indica la luz roja del módem?", k=2)]
    kinds = [event.WhichOneof("event") for event in events]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert kinds[0] == "retrieval"
    assert kinds[-2:] == ["usage", "done"]
    assert set(kinds[1:-2]) == {"delta"}
    done = events[-1].done
    assert "".join(event.delta.text for event in events[1:-2]) == done.answer
    assert [citation.index for citation in events[0].retrieval.citations] == [1, 2]
    assert [citation.index for citation in done.citations] == [1]  # only what was used
    assert done.usage == events[-2].usage
    assert done.finish_reason == "stop"
    assert done.metadata["notice"].string_value


class Scripted:
    """An answerer that says what it is told, waits where there is None, and notes that it was closed."""

    def __init__(self, *steps: Any, endless: bool = False) -> None:
        self._steps, self._endless = steps, endless
        self.go_on, self.closed = asyncio.Event(), False

    def most_tokens(self, question: Any, passages: int) -> MostTokens:
        return MostTokens(llm=100)

    async def answer(self, question: Any, passages: Any, ctx: Any) -> AsyncGenerator[Any, None]:
        try:
            for step in self._steps:
                if step is None:
                    await self.go_on.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
            while self._endless:
                yield "x" * 10_000
                await asyncio.sleep(0)
        finally:
            self.closed = True


END = AnswerEnd(model="scripted", cited=[1], stages=[("answer", TokenUsage(output_tokens=3, total_tokens=3, model="scripted"))])


async def test_citations_of_the_end_are_those_used_and_no_others():
    async with serving(Scripted("[2] sí", END)) as bench:
        events = [event async for event in bench.call("StreamQuery", k=3)]
    assert len(events[0].retrieval.citations) == 3
    assert [citation.index for citation in events[-1].done.citations] == [2]
    assert (events[-1].done.usage.model, events[-1].done.usage.output_tokens) == ("scripted", 3)


async def test_a_silent_stream_sends_heartbeats():
    answerer, kinds = Scripted("uno", None, "dos", END), []
    async with serving(answerer, heartbeat_s=0.05) as bench:
        async for event in bench.call("StreamQuery"):
            kinds.append(event.WhichOneof("event"))
            if kinds.count("heartbeat") == 2:
                answerer.go_on.set()
    assert kinds.count("heartbeat") >= 2
    assert kinds[-1] == "done"


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (UnavailableError("llm"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (ValueError("password=hunter2"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_a_failure_in_the_middle_is_an_event_and_a_status(failure: Exception, code: grpc.StatusCode, reason: str):
    events = []
    async with serving(Scripted("uno", failure)) as bench:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for event in bench.call("StreamQuery"):
                events.append(event)
    assert [event.WhichOneof("event") for event in events] == ["retrieval", "delta", "error"]
    assert (events[-1].error.type, events[-1].error.code) == (reason, code.name)
    assert caught.value.code() is code
    assert "hunter2" not in str(events) + str(caught.value)


@pytest.mark.parametrize("endless", [False, True], ids=["waiting", "writing"])
async def test_a_client_that_leaves_stops_the_answerer_and_breaks_nothing(endless: bool, caplog: pytest.LogCaptureFixture):
    answerer = Scripted("uno") if endless else Scripted("uno", None)
    answerer._endless = endless
    async with serving(answerer) as bench:
        stream = bench.call("StreamQuery")
        async for event in stream:
            if event.WhichOneof("event") == "delta":
                break
        stream.cancel()
        await until(lambda: answerer.closed)
        assert (await bench.call("Search")).success
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
