"""Whose turn it is: messages of one conversation wait for each other, visitors leave, servers die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from malla.chat.v1 import chat_pb2 as pb

from common.errors import UnavailableError
from common.store import Store, now_ms
from services.query.adapters.conversations import MongoConversations
from tests.fakes.calls import refused
from tests.fakes.chat_bench import QUESTION, ChatBench, chatting, kinds, read, until_delta
from tests.fakes.llm_upstream import Act
from tests.fakes.waiting import until

HANGING = Act(words=["Sin ", "señal."], hang="next")


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[ChatBench]:
    async with chatting(store, turn_wait_s=5) as bench:
        await bench.agent()
        yield bench


async def test_a_second_message_waits_for_the_first(bench: ChatBench):
    bench.upstream.then(Act(words=["Uno."] * 10, pause_s=0.03), Act(words=["Dos."]))
    first = bench.stream("Primera pregunta")
    await until_delta(first)
    second, _ = await read(bench.stream("Segunda pregunta"))
    assert second[-1].done.answer == "Dos."
    assert bench.prompt()[-2] == {"role": "assistant", "content": "Uno." * 10}
    assert [turn.text for turn in await bench.turns()] == ["Primera pregunta", "Uno." * 10, "Segunda pregunta", "Dos."]
    assert kinds((await read(first))[0])[-1] == "done"


async def test_a_message_does_not_wait_without_end(store: Store):
    async with chatting(store, turn_wait_s=0.2) as bench:
        await bench.agent()
        bench.upstream.then(HANGING)
        first = bench.stream()
        await until_delta(first)
        failure = await refused(bench.stream("¿Y bien?"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "CONVERSATION_BUSY")
        assert failure.detail("RetryInfo").retry_delay.seconds >= 1
        assert len(await bench.turns()) == 2
        assert (await bench.say("Otra", session_id="s-2")).answer, "another conversation does not wait"
        first.cancel()


async def test_a_visitor_who_leaves_stops_the_model_and_frees_the_conversation(bench: ChatBench):
    bench.upstream.then(HANGING)
    call = bench.stream()
    text = await until_delta(call)
    call.cancel()
    left = time.monotonic()
    await until(lambda: bench.upstream.chats[0].left_at, 5)
    assert (bench.upstream.chats[0].left_at or 0) - left <= 0.5
    answer = await bench.say("¿Sigue ahí?")
    assert answer.finish_reason == "stop"
    cut = (await bench.turns())[1]
    assert (cut.state, cut.text, cut.finish_reason) == (pb.Turn.CANCELLED, text, "cancelled")
    assert cut.usage.estimated
    assert cut.usage.output_tokens > 0
    assert cut.latency_ms > 0
    assert bench.prompt()[1:3] == [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": text}]


async def test_what_was_generated_is_stored_before_the_next_message_has_the_turn_however_slow_the_record_is(
    bench: ChatBench, monkeypatch: pytest.MonkeyPatch
):
    change_turn = MongoConversations.change_turn

    async def slowly(self: MongoConversations, tenant: str, message: str, fields: dict[str, Any], *, owner: str = "") -> bool:
        if fields.get("state") == "CANCELLED":
            await asyncio.sleep(0.8)  # longer than a stream that ends waits before it asks its source again
        return await change_turn(self, tenant, message, fields, owner=owner)

    monkeypatch.setattr(MongoConversations, "change_turn", slowly)
    bench.upstream.then(HANGING)
    call = bench.stream()
    text = await until_delta(call)
    call.cancel()
    await bench.say("¿Sigue ahí?")
    cut = (await bench.turns())[1]
    assert (cut.state, cut.text, cut.finish_reason) == (pb.Turn.CANCELLED, text, "cancelled")


async def test_an_answer_that_was_told_stays_told_where_its_turn_cannot_be_given_back(
    bench: ChatBench, monkeypatch: pytest.MonkeyPatch
):
    change = MongoConversations.change

    async def failing(self: MongoConversations, tenant: str, uid: str, owner: str, fields: dict[str, Any]) -> bool:
        if fields.get("owned_until") == 0:
            raise UnavailableError("database")
        return await change(self, tenant, uid, owner, fields)

    monkeypatch.setattr(MongoConversations, "change", failing)
    events, failure = await read(bench.stream())
    assert (kinds(events)[-1], failure) == ("done", None)
    assert (await bench.say(session_id="s-2")).finish_reason == "stop"


async def test_a_visitor_who_leaves_before_the_first_word(bench: ChatBench):
    bench.upstream.then(Act(hang="headers"))
    call = bench.say()
    asking = asyncio.ensure_future(call)
    await until(lambda: bench.upstream.chats)
    call.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: bench.upstream.chats[0].left_at, 5)

    async def cut() -> list[pb.Turn]:
        return [turn for turn in await bench.turns() if turn.state == pb.Turn.CANCELLED]

    (turn,) = await until(cut)
    assert (turn.text, turn.usage.output_tokens) == ("", 0)
    assert (await bench.say()).answer


async def test_a_cancelled_message_sent_again_is_answered(bench: ChatBench):
    bench.upstream.then(HANGING, Act(words=["Sin señal óptica."]))
    call = bench.stream(request_id="k-1")
    await until_delta(call)
    call.cancel()
    answer = await bench.say(request_id="k-1")
    assert answer.answer == "Sin señal óptica."
    turns = await bench.turns()
    assert [(turn.text, turn.state) for turn in turns] == [
        (QUESTION, pb.Turn.COMPLETE),
        ("Sin señal óptica.", pb.Turn.COMPLETE),
    ]
    assert turns[1].message_id == answer.message_id
    assert not turns[1].usage.estimated
    assert len(bench.prompt()) == 2, "its own first try is no history"


async def test_a_deadline_ends_the_answer_too(bench: ChatBench):
    bench.upstream.then(HANGING)
    failure = await refused(bench.stream(timeout=0.5))
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: bench.upstream.chats[0].left_at, 5)
    assert (await bench.say()).answer
    assert (await bench.turns())[1].state == pb.Turn.CANCELLED


async def test_a_slow_reader_does_not_lose_the_end(bench: ChatBench):
    bench.upstream.then(Act(words=["x" * 2000] * 300, one_write=True))
    call = bench.stream(max_tokens=10_000)
    await until_delta(call)
    events, failure = await read(call)
    assert failure is None
    assert len(events[-1].done.answer) == 600_000
    assert (await bench.turns())[1].state == pb.Turn.COMPLETE


async def die_in_the_middle(bench: ChatBench, lease_ms: int) -> None:
    """Leaves the record as a server does that is killed while it answers."""
    await bench.say()
    turn, conversation = (await bench.turns())[1], {"session_id": "s-1"}
    fields = {"state": "RUNNING", "finish_reason": "", "text": "Sin "}
    assert await bench.store.rows("acme", "turns").update({"_id": turn.message_id}, {"$set": fields})
    owned = {"owner": "gone", "owned_until": now_ms() + lease_ms}
    assert await bench.store.rows("acme", "conversations").update(conversation, {"$set": owned})


async def test_the_turn_of_a_dead_server_has_failed_once_its_lease_is_over(bench: ChatBench):
    await die_in_the_middle(bench, lease_ms=1000)
    assert (await bench.turns())[1].state == pb.Turn.RUNNING

    async def failed() -> bool:
        return (await bench.turns())[1].state == pb.Turn.FAILED

    await until(failed, 5)
    assert ((await bench.turns())[1].text, (await bench.turns())[1].finish_reason) == ("Sin ", "error")


async def test_the_next_turn_settles_it(bench: ChatBench):
    await die_in_the_middle(bench, lease_ms=300)
    assert (await bench.say("¿Sigue ahí?")).answer
    row = await bench.store.rows("acme", "turns").find_one({"text": "Sin "})
    assert row is not None
    assert (row["state"], row["finish_reason"]) == ("FAILED", "error")
    assert [turn.state for turn in await bench.turns()][1:] == [pb.Turn.FAILED, pb.Turn.COMPLETE, pb.Turn.COMPLETE]


async def test_a_long_answer_keeps_its_turn_beyond_the_lease(store: Store):
    async with chatting(store, turn_lease_s=0.3, turn_wait_s=5) as bench:
        await bench.agent()
        bench.upstream.then(Act(words=["Uno."] * 20, pause_s=0.05), Act(words=["Dos."]))
        first = asyncio.ensure_future(read(bench.stream("Primera")))
        await until(lambda: bench.upstream.chats)
        await bench.say("Segunda")
        assert (await first)[1] is None
        assert [turn.text for turn in await bench.turns()] == ["Primera", "Uno." * 20, "Segunda", "Dos."]


TAKEN = {"owner": "another", "owned_until": 2**50}


@pytest.mark.parametrize("hang", ["next", "first"])
async def test_an_answer_whose_turn_was_taken_stops_and_says_so(store: Store, hang: str):
    async with chatting(store, turn_lease_s=0.3) as bench:
        await bench.agent()
        bench.upstream.then(Act(words=["Sin ", "señal."], hang=hang))
        call = bench.stream(request_id="k-1")
        await until(lambda: bench.upstream.chats)
        rows = bench.store.rows("acme", "conversations")

        async def taken() -> bool:
            return await rows.update({"session_id": "s-1"}, {"$set": TAKEN})

        await until(taken)
        (answer,) = [turn for turn in await bench.turns() if turn.role == pb.Turn.ASSISTANT]
        # As the other server does with a turn that it finds running.
        theirs = {"owner": "another", "text": "theirs"}
        assert await bench.store.rows("acme", "turns").update({"_id": answer.message_id}, {"$set": theirs})
        events, failure = await read(call)
        assert failure is not None
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "TURN_LOST")
        assert (events[-1].error.type, events[-1].error.code) == ("TURN_LOST", "ABORTED")
        await until(lambda: bench.upstream.chats[0].left_at, 5)
        row = await rows.find_one({"session_id": "s-1"})
        assert row is not None
        assert row["owner"] == "another", "what another has is not given back"
        assert [turn.text for turn in await bench.turns()][1] == "theirs", "two servers do not write one turn"
        assert {row.stage for row in bench.accounting.rows.values()} == {"query_embedding", "answer"}, (
            "what was made is counted"
        )


async def test_a_reader_who_is_slow_hears_of_a_lost_turn_too(store: Store):
    async with chatting(store, turn_lease_s=0.3) as bench:
        await bench.agent()
        bench.upstream.then(Act(words=["x" * 1000] * 1000, pause_s=0.001))
        call = bench.stream(max_tokens=10_000)
        await until_delta(call)  # and nothing more is read: the answer waits for its reader
        rows = bench.store.rows("acme", "conversations")
        before = await rows.find_one({"session_id": "s-1"})
        assert before is not None
        assert await rows.update({"session_id": "s-1"}, {"$set": TAKEN})
        assert await bench.store.rows("acme", "turns").update({"text": ""}, {"$set": {"owner": "another"}})
        events, failure = await read(call)
        assert failure is not None
        assert events[-1].error.type == failure.reason == "TURN_LOST"


async def test_a_reader_of_the_conversation_sees_an_answer_in_the_making(bench: ChatBench):
    bench.upstream.then(Act(words=["Uno."] * 30, pause_s=0.05))
    call = bench.stream()
    await until_delta(call)

    async def partial() -> str:
        turn = (await bench.turns())[1]
        assert turn.state in {pb.Turn.RUNNING, pb.Turn.COMPLETE}
        return str(turn.text)

    assert (await until(partial, 5)).startswith("Uno.")
    call.cancel()
