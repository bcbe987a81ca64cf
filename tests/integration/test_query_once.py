"""A repeated `request_id` of a query gets the first answer: asked once, counted once, on whichever server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from malla.query.v1 import query_pb2 as pb
from malla.query.v1 import query_pb2_grpc as rpc

from common.store import Store, now_ms
from services.query.adapters.first_answers import MongoFirstAnswers
from tests.fakes.accounting import MemoryAccounting
from tests.fakes.calls import metadata, refused
from tests.fakes.chat_bench import QUESTION, ChatBench, chatting_with, kinds, read, until_delta
from tests.fakes.llm_upstream import Act, running_upstream
from tests.fakes.waiting import until

FIRST, SECOND = Act(words=["La ", "primera."]), Act(words=["La segunda."])


class Servers:
    """Two servers over one record and one upstream, and a third where repeated calls do not wait."""

    def __init__(self, benches: list[ChatBench], accounting: MemoryAccounting) -> None:
        self.benches, self.upstream, self.store = benches, benches[0].upstream, benches[0].store
        self.accounting = accounting

    def ask(self, name: str = "Query", *, server: int = 0, tenant: str = "acme", **fields: Any) -> Any:
        bench = self.benches[server]
        stub: Any = bench.query if not name.startswith("Internal") else rpc.InternalQueryServiceStub(bench.channel)
        body = {"collection_id": "manual", "query": QUESTION, "request_id": "k-1", **fields}
        request = json_format.ParseDict(body, pb.QueryRequest())
        return getattr(stub, name)(request, metadata=metadata(tenant, tier="enterprise"), timeout=20)

    @property
    def answers(self) -> list[str]:
        """The keys of the ledger's rows of answers."""
        return [key for key in self.accounting.rows if key.endswith("/answer")]

    async def row(self) -> dict[str, Any]:
        found = await self.store.rows("acme", "answers").find_one({})
        assert found is not None
        return found


@pytest.fixture
async def servers(store: Store) -> AsyncIterator[Servers]:
    accounting = MemoryAccounting()
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(running_upstream())
        upstream.then(FIRST, SECOND)
        rules: dict[str, Any] = {"accounting": accounting, "turn_lease_s": 0.6}
        waits_s = (5, 5, 0)
        servers = [chatting_with(store, upstream, **rules, turn_wait_s=wait_s) for wait_s in waits_s]
        benches = [await stack.enter_async_context(server) for server in servers]
        yield Servers(benches, accounting)


async def test_a_repeated_key_gets_the_first_answer_on_every_server_and_by_every_method(servers: Servers):
    first = await servers.ask()
    assert first.answer == "La primera."
    assert "replayed" not in first.metadata
    again = await servers.ask(server=1, max_tokens=7)
    assert (again.answer, again.usage, again.model) == (first.answer, first.usage, first.model)
    assert list(again.citations) == list(first.citations)
    assert again.metadata["replayed"].bool_value
    internal = await servers.ask("InternalQuery", server=1)
    assert internal.data.answer == first.answer
    assert internal.metadata["replayed"].bool_value
    events, failure = await read(servers.ask("StreamQuery"))
    assert failure is None
    assert kinds(events) == ["retrieval", "delta", "usage", "done"]
    assert events[-1].done.metadata["replayed"].bool_value
    assert (len(servers.upstream.chats), len(servers.answers)) == (1, 1)


async def test_a_key_is_one_tenants_and_one_questions(servers: Servers):
    await servers.ask()
    assert (await servers.ask(tenant="other")).answer == "La segunda."
    assert "replayed" not in (await servers.ask(query="¿Y la luz verde?")).metadata
    assert "replayed" not in (await servers.ask(request_id="")).metadata
    assert len(servers.upstream.chats) == len(servers.answers) == 4


async def test_calls_with_one_key_at_once_are_one_question(servers: Servers):
    asked = [servers.ask(name, server=i % 2) for i, name in enumerate(["Query", "StreamQuery", "InternalQuery", "Query"] * 3)]
    texts = []
    for call in asked:
        if hasattr(call, "read"):
            events, failure = await read(call)
            assert failure is None
            texts.append(events[-1].done.answer)
        else:
            response = await call
            texts.append(response.data.answer if hasattr(response, "data") else response.answer)
    assert set(texts) == {"La primera."}
    assert (len(servers.upstream.chats), len(servers.answers)) == (1, 1)


async def test_of_a_crowd_with_one_key_only_the_first_in_line_asks_the_record(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
):
    claim, owners = MongoFirstAnswers.claim, []

    async def counted(self: MongoFirstAnswers, tenant_id: str, key: str, owner: str, *times: int) -> bool:
        owners.append(owner)
        return await claim(self, tenant_id, key, owner, *times)

    monkeypatch.setattr(MongoFirstAnswers, "claim", counted)
    servers.upstream._acts.clear()
    gate = asyncio.Event()
    servers.upstream.then(Act(gate=gate))
    first = asyncio.ensure_future(servers.ask())
    await until(lambda: servers.upstream.chats)
    crowd = [asyncio.ensure_future(servers.ask()) for _ in range(20)]
    await until(lambda: len(owners) > 5)
    assert len(set(owners)) == 2
    gate.set()
    assert {answer.answer for answer in await asyncio.gather(*crowd)} == {(await first).answer}
    assert len(servers.upstream.chats) == 1


async def test_whoever_cannot_wait_is_told_to_come_back(servers: Servers):
    servers.upstream._acts.clear()
    gate = asyncio.Event()
    servers.upstream.then(Act(gate=gate))
    first = asyncio.ensure_future(servers.ask())
    await until(lambda: servers.upstream.chats)
    failure = await refused(servers.ask(server=2))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS")
    assert failure.detail("RetryInfo").retry_delay.seconds >= 1
    gate.set()
    assert (await first).answer == (await servers.ask(server=1)).answer
    assert len(servers.upstream.chats) == 1


async def test_a_first_call_that_fails_leaves_the_key_to_the_next(servers: Servers):
    servers.upstream._acts.clear()
    servers.upstream.then(Act(status=429, headers={"retry-after": "60"}), FIRST)
    await refused(servers.ask())
    assert (await servers.ask(server=1)).answer == "La primera."


async def test_a_first_call_that_was_left_is_counted_and_so_is_the_next(servers: Servers):
    servers.upstream._acts.clear()
    servers.upstream.then(Act(words=["Sin ", "señal."], hang="next"), FIRST)
    call = servers.ask("StreamQuery")
    await until_delta(call)
    call.cancel()
    assert (await servers.ask(server=1)).answer == "La primera."
    assert len(servers.answers) == 2, "the model was asked twice, and both are paid"
    assert {servers.accounting.rows[key].estimated for key in servers.answers} == {True, False}
    assert (await servers.ask()).answer == "La primera."
    assert len(servers.answers) == 2


async def test_the_key_of_a_dead_server_is_free_once_its_lease_is_over(servers: Servers):
    await servers.ask()
    dead = {"owner": "gone", "done": "", "until": now_ms() + 300}
    assert await servers.store.rows("acme", "answers").update({}, {"$set": dead})
    assert (await servers.ask(server=1)).answer == "La segunda."


async def test_a_server_that_lost_its_key_stops(servers: Servers):
    servers.upstream._acts.clear()
    servers.upstream.then(Act(words=["Sin ", "señal."], hang="next"))
    call = servers.ask("StreamQuery")
    await until_delta(call)
    taken = {"owner": "another", "until": now_ms() + 60_000}
    assert await servers.store.rows("acme", "answers").update({}, {"$set": taken})
    events, failure = await read(call)
    assert failure is not None
    assert (events[-1].error.type, events[-1].error.code) == ("REQUEST_IN_PROGRESS", "ABORTED")
    await until(lambda: servers.upstream.chats[0].left_at)
    assert (await servers.row())["owner"] == "another"
    assert len(servers.answers) == 1, "what it made is counted"


async def test_answers_are_kept_for_a_while_and_swept(servers: Servers, store: Store):
    await servers.ask()
    assert await MongoFirstAnswers(store).sweep() == 0
    assert (await servers.row())["until"] > now_ms() + 80_000_000
    assert await store.rows("acme", "answers").update({}, {"$set": {"until": now_ms() - 1}})
    assert (await servers.ask()).answer == "La segunda.", "a key that is over is new"
    assert len(servers.answers) == 2
    assert await store.rows("acme", "answers").update({}, {"$set": {"until": now_ms() - 1}})
    assert await MongoFirstAnswers(store).sweep() == 1
    assert await store.rows("acme", "answers").count({}) == 0
