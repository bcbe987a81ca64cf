"""Every step that takes tokens has its row, once: of each kind of call, repeated, cancelled, refused, without a database."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from google.protobuf import json_format
from malla.chat.v1 import chat_pb2
from malla.query.v1 import query_pb2, query_pb2_grpc, usage_pb2

from common.context import Context, Tier
from common.settings import StoreSettings
from common.store import Store, open_store
from common.tiers import TierLimits, TierSettings
from common.tracking import Accounting, LedgerRow
from services.query.adapters.embedder import CachedEmbedder
from tests.fakes import chat_bench
from tests.fakes.accounting import accounted
from tests.fakes.calls import Failure, failure_of, metadata, refused
from tests.fakes.chat_bench import QUESTION, ChatBench, chatting, read, until_delta
from tests.fakes.llm_upstream import USAGE, Act
from tests.fakes.query import WordEmbedder
from tests.fakes.waiting import until
from tests.fakes.wire import wire_to

TOTAL = USAGE["total_tokens"]


@pytest.fixture
async def accounting(store: Store, tmp_path: Path) -> AsyncIterator[Accounting]:
    async with accounted(store, tmp_path) as accounting:
        yield accounting


@pytest.fixture
async def bench(store: Store, accounting: Accounting) -> AsyncIterator[ChatBench]:
    async with chatting(store, accounting=accounting) as bench:
        await bench.agent()
        yield bench


async def rows(accounting: Accounting, **wanted: str) -> list[LedgerRow]:
    """The ledger of the tenant, oldest first."""
    found: list[LedgerRow] = []
    token = ""
    while True:
        page = await accounting.records(Context(tenant_id="acme"), page_token=token, page_size=1000, **wanted)
        found += page.records
        token = page.next_page_token
        if not token:
            return found[::-1]


def stages(found: list[LedgerRow]) -> list[str]:
    return sorted(row.stage for row in found)


def ask(bench: ChatBench, name: str = "Query", *, tier: str = "enterprise", timeout: float = 20, **fields: Any) -> Any:
    """Calls a method of the query services."""
    stub: Any = bench.query
    if name.startswith("Internal"):
        stub = query_pb2_grpc.InternalQueryServiceStub(bench.channel)
    kind = query_pb2.SearchRequest if name.endswith("Search") else query_pb2.QueryRequest
    request = json_format.ParseDict({"collection_id": "manual", "query": QUESTION, **fields}, kind())
    return getattr(stub, name)(request, metadata=metadata(tier=tier, request_id="r1"), timeout=timeout)


CALLS = {
    "Search": ("query", ["query_embedding"]),
    "Query": ("query", ["answer", "query_embedding"]),
    "StreamQuery": ("query", ["answer", "query_embedding"]),
    "InternalSearch": ("internal", ["query_embedding"]),
    "InternalQuery": ("internal", ["answer", "query_embedding"]),
}


@pytest.mark.parametrize(("name", "operation", "expected"), [(name, *row) for name, row in CALLS.items()], ids=list(CALLS))
async def test_each_step_of_a_call_has_its_row(
    bench: ChatBench, accounting: Accounting, name: str, operation: str, expected: list[str]
):
    call = ask(bench, name)
    if name == "StreamQuery":
        events, failure = await read(call)
        assert failure is None
        told = events[-1].done.usage
    else:
        response = await call
        told = (response.data if name.startswith("Internal") else response).usage
    found = await rows(accounting)
    assert stages(found) == expected
    assert {row.operation for row in found} == {operation}
    assert {row.request_id for row in found} == {"r1"}
    assert sum(row.total_tokens for row in found) == told.total_tokens, "the ledger says what the caller was told"
    for row in found:
        token_type, provider = ("llm", "groq") if row.stage == "answer" else ("embedding", "fake")
        assert (row.token_type, row.provider, row.estimated) == (token_type, provider, False)


async def test_a_turn_is_counted_with_its_conversation_and_agent(bench: ChatBench, accounting: Accounting):
    answer = await bench.say(request_id="k-1")
    found = {row.stage: row for row in await rows(accounting, session_id="s-1")}
    assert set(found) == {"query_embedding", "answer"}
    row = found["answer"]
    assert (row.agent_id, row.input_tokens, row.output_tokens, row.cached_tokens) == ("1", 11, 3, 4)
    assert row.total_tokens + found["query_embedding"].total_tokens == answer.usage.total_tokens
    assert row.idempotency_key.startswith("k-1/")


async def test_a_row_is_there_before_the_answer_is_done(bench: ChatBench, accounting: Accounting):
    call = bench.stream()
    async for event in call:
        if event.WhichOneof("event") in {"usage", "done"}:
            assert stages(await rows(accounting)) == ["answer", "query_embedding"]
            assert (await bench.turns())[1].state == chat_pb2.Turn.COMPLETE


async def test_the_test_of_the_model_is_counted(bench: ChatBench, accounting: Accounting):
    await bench.call("TestConnection")
    assert [(row.stage, row.token_type, row.total_tokens) for row in await rows(accounting)] == [
        ("connection_test", "llm", TOTAL)
    ]


async def test_without_a_model_what_is_embedded_for_quotes_is_counted(store: Store, accounting: Accounting):
    async with chatting(store, accounting=accounting, llm={"groq_api_key": None}) as bench:
        await bench.agent()
        answer = await bench.say()
        found = await rows(accounting)
        assert answer.model == "extractive"
        assert stages(found) == ["query_embedding", "statement_embedding"], "a quote takes no tokens of a language model"


async def test_a_repeated_message_is_counted_once(bench: ChatBench, accounting: Accounting):
    answers = [await bench.say(request_id="k-1") for _ in range(3)]
    assert len({answer.message_id for answer in answers}) == 1
    assert stages(await rows(accounting)) == ["answer", "query_embedding"]


async def test_a_message_answered_again_after_it_was_cut_short_is_counted_again(bench: ChatBench, accounting: Accounting):
    bench.upstream.then(Act(words=["Sin ", "señal."], hang="next"))
    call = bench.stream(request_id="k-1")
    await until_delta(call)
    call.cancel()
    await until(lambda: rows(accounting, token_type="llm"))
    for _ in range(3):
        assert (await bench.say(request_id="k-1")).answer
    found = await rows(accounting, token_type="llm")
    assert [row.estimated for row in found] == [True, False], "each time the model was asked"
    assert len({row.idempotency_key for row in found}) == 2


async def test_a_repeated_query_is_counted_once_and_another_one_is_not_it(bench: ChatBench, accounting: Accounting):
    await asyncio.gather(*(ask(bench, request_id="k-1") for _ in range(5)))
    assert stages(await rows(accounting)) == ["answer", "query_embedding"]
    await ask(bench, request_id="k-1", query="¿Y la luz verde?")
    assert len(await rows(accounting)) == 4, "a key does not pay for other questions"
    await ask(bench)
    await ask(bench)
    assert len(await rows(accounting)) == 8, "calls without a key are counted each, whatever their x-request-id"


async def test_a_repeated_search_is_counted_once(bench: ChatBench, accounting: Accounting):
    await asyncio.gather(*(ask(bench, "Search", request_id="k-1") for _ in range(3)))
    assert stages(await rows(accounting)) == ["query_embedding"]
    await ask(bench, "Search", request_id="k-1", query="¿Y la luz verde?")
    assert len(await rows(accounting)) == 2, "a key does not pay for other questions"


@pytest.mark.parametrize("name", ["Search", "Query"])
async def test_a_remembered_question_takes_no_tokens_for_its_caller_nor_in_the_ledger(
    store: Store, accounting: Accounting, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chat_bench, "WordEmbedder", lambda: CachedEmbedder(WordEmbedder(), 10))
    async with chatting(store, accounting=accounting) as bench:
        told = [(await ask(bench, name)).usage for _ in range(3)]
    found = await rows(accounting)
    for count in ("input_tokens", "output_tokens", "total_tokens", "cached_tokens"):
        assert sum(getattr(row, count) for row in found) == sum(getattr(usage, count) for usage in told), count
    assert stages(found) == ["answer"] * (3 if name == "Query" else 0) + ["query_embedding"]


@pytest.mark.parametrize("hang", ["headers", "first", "next"])
async def test_an_answer_cut_short_is_estimated(bench: ChatBench, accounting: Accounting, hang: str):
    bench.upstream.then(Act(words=["La luz roja ", "indica…"], hang=hang))
    call = bench.stream()
    if hang == "next":
        await until_delta(call)
    else:
        await until(lambda: bench.upstream.chats)
    call.cancel()
    found = await until(lambda: rows(accounting, token_type="llm"))
    (row,) = found
    assert (row.stage, row.estimated, row.input_tokens > 20) == ("answer", True, True)
    assert (row.output_tokens > 0) is (hang == "next")
    stored = await until(lambda: turn_with_state(bench, chat_pb2.Turn.CANCELLED))
    assert stored.usage.output_tokens == row.output_tokens


async def turn_with_state(bench: ChatBench, state: int) -> Any:
    return next((turn for turn in await bench.turns() if turn.state == state), None)


async def test_a_model_that_refuses_is_not_paid(bench: ChatBench, accounting: Accounting):
    bench.upstream.then(Act(status=429, headers={"retry-after": "60"}))
    await refused(bench.say())
    assert stages(await rows(accounting)) == ["query_embedding"]


async def test_a_model_that_breaks_off_is_paid_for_what_it_said(bench: ChatBench, accounting: Accounting):
    bench.upstream.then(Act(words=["Sin ", "señal"], cut_after=1, pause_s=0.02))
    await refused(bench.stream())
    (row,) = await rows(accounting, token_type="llm")
    assert row.estimated
    assert row.output_tokens > 0


# ------------------------------------------------------------------------------------------------------------------- in numbers


async def cancelled_at_random(bench: ChatBench, count: int, at_once: int) -> None:
    """Begins streams and leaves each after some of its events, or at its end."""
    chance, gate = random.Random(20261122), asyncio.Semaphore(at_once)
    bench.upstream.default = Act(words=["palabra "] * 20, pause_s=0.002)

    async def one(number: int) -> None:
        events = chance.randint(1, 15)
        async with gate:
            call = bench.stream(session_id=f"c-{number}", tier="free")
            async for _ in call:
                events -= 1
                if not events:
                    break
            call.cancel()

    await asyncio.gather(*(one(number) for number in range(count)))


async def check_cancelled(bench: ChatBench, accounting: Accounting, count: int) -> Counter[bool]:
    async def answers() -> list[LedgerRow]:
        found = [row for row in await rows(accounting, token_type="llm") if row.stage == "answer"]
        return found if len(found) >= count else []

    found = await until(answers, 60)
    assert Counter(row.session_id for row in found) == Counter(f"c-{number}" for number in range(count))
    # A reader who leaves with the first event may be gone before the request is.
    assert 0.9 * count <= len(bench.upstream.chats) <= count
    return Counter(row.estimated for row in found)


async def test_streams_cancelled_at_random_points_have_one_answer_row_each(bench: ChatBench, accounting: Accounting):
    await cancelled_at_random(bench, 60, at_once=20)
    kinds = await check_cancelled(bench, accounting, 60)
    assert kinds[True], "some were cut short"

    await until(lambda: accounting._calls == 0)  # nothing is kept for those who left


def free_tier(tokens: int) -> TierSettings:
    return TierSettings(_env_file=None, tiers={Tier.FREE: TierLimits(llm_tokens_per_day=tokens)})


async def most_of_a_call(store: Store, folder: Path) -> int:
    """What one call of the next test keeps of a budget."""
    async with accounted(store, folder / "probe", free_tier(1)) as accounting, chatting(store, accounting=accounting) as bench:
        failure = await refused(ask(bench, tier="free"))
        return int(failure.body.error.details["requested"])


async def test_two_hundred_calls_on_a_budget_for_fifty(store: Store, tmp_path: Path):
    most = await most_of_a_call(store, tmp_path)
    limit = 50 * most + most // 2
    gate = asyncio.Event()
    async with accounted(store, tmp_path, free_tier(limit)) as accounting, chatting(store, accounting=accounting) as bench:
        bench.upstream.default = Act(gate=gate)

        async def one(number: int) -> Any:
            try:
                return await ask(bench, request_id=f"k-{number}", tier="free", timeout=60)
            except grpc.aio.AioRpcError as error:
                return error

        calls = [asyncio.ensure_future(one(number)) for number in range(200)]
        await until(lambda: sum(call.done() for call in calls) >= 150, 60)
        await until(lambda: len(bench.upstream.chats) >= 50)
        usage = (await bench.usage.GetUsage(usage_pb2.GetUsageRequest(), metadata=metadata(tier="free"))).budget
        assert (usage.limit, usage.used, usage.reserved, usage.remaining) == (limit, 0, 50 * most, most // 2)
        gate.set()
        results = await asyncio.gather(*calls)
        refusals = [failure_of(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert len(refusals) == 150
        for failure in refusals:
            check_refusal(failure, limit, most)
        found = await rows(accounting)
        assert Counter(row.stage for row in found) == {"answer": 50, "query_embedding": 50}, "those refused spent nothing"
        assert len(bench.upstream.chats) == 50
        response = await ask(bench, tier="free")
        assert response.answer, "what was kept and not used is there again"
        spent = await bench.usage.GetUsage(usage_pb2.GetUsageRequest(), metadata=metadata(tier="free"))
        assert spent.budget.used == 51 * TOTAL


def check_refusal(failure: Failure, limit: int, most: int) -> None:
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXCEEDED")
    assert failure.body.error.type == "BUDGET_EXCEEDED"
    details = failure.body.error.details
    assert details["budget"] == "llm_tokens_per_day"
    assert (details["limit"], details["requested"]) == (limit, most)
    assert details["remaining"] < most
    assert details["resets_at"].endswith("T00:00:00Z")
    assert failure.detail("RetryInfo").retry_delay.seconds > 0


async def test_a_chat_over_budget_is_refused_before_anything_is_spent(store: Store, tmp_path: Path):
    async with accounted(store, tmp_path, free_tier(100)) as accounting, chatting(store, accounting=accounting) as bench:
        await bench.agent()
        events, failure = await read(bench.stream(tier="free"))
        assert failure is not None
        assert (events, failure.reason) == ([], "BUDGET_EXCEEDED")
        assert (await rows(accounting), bench.upstream.chats) == ([], [])
        turns = await bench.turns()
        assert [turn.state for turn in turns] == [chat_pb2.Turn.COMPLETE, chat_pb2.Turn.FAILED], "the visitor's words are kept"
        assert (await ask(bench, "Search", tier="free")).results, "a search takes none of it"


async def test_the_database_goes_while_an_answer_is_made(store_settings: StoreSettings, tmp_path: Path):
    port = urlsplit(store_settings.mongodb_uri.get_secret_value()).port
    assert port is not None
    async with wire_to(port) as wire:
        through = StoreSettings(
            _env_file=None,
            MONGODB_URI=f"mongodb://127.0.0.1:{wire.port}",
            MONGODB_DATABASE=store_settings.mongodb_database,
            MONGODB_TIMEOUT=1.0,
        )
        gate = asyncio.Event()
        async with (
            open_store(through) as store,
            accounted(store, tmp_path, ledger_timeout_s=0.5) as accounting,
            chatting(store, accounting=accounting) as bench,
        ):
            bench.upstream.then(Act(gate=gate))
            asked = asyncio.ensure_future(ask(bench, request_id="k-1", tier="free"))
            await until(lambda: bench.upstream.chats)
            wire.cut()
            gate.set()
            answer = await asked
            assert answer.answer, "the answer does not wait for the database"
            again = await ask(bench, request_id="k-1", tier="enterprise")
            assert again.answer
            wire.mend()

            async def arrived() -> list[LedgerRow]:
                try:
                    return await rows(accounting)
                except Exception:  # noqa: BLE001  # the driver comes back a moment after the wire
                    return []

            found = await until(arrived, 30)
            await until(lambda: accounting._outbox.size == 0)
            found = await rows(accounting)
            assert stages(found) == ["answer", "query_embedding"]
            assert {row.total_tokens for row in found if row.stage == "answer"} == {TOTAL}
