"""Handing a conversation to a human and back: when the bot does, what it leaves to them, and that it is silent meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from malla.chat.v1 import chat_pb2 as pb

from common.store import Store
from services.query.adapters.conversations import MongoConversations
from tests.fakes.calls import refused
from tests.fakes.chat_bench import QUESTION, ChatBench, chatting, kinds, read
from tests.fakes.llm_upstream import Act

ASKED = "Quiero hablar con una persona, por favor"


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[ChatBench]:
    async with chatting(store) as bench:
        yield bench


async def handed_off(bench: ChatBench, reason: str, message: str, **fields: object) -> None:
    """Sends a message that the bot leaves to a human."""
    asked = len(bench.upstream.chats)
    events, failure = await read(bench.stream(message, **fields))
    assert failure is None
    assert kinds(events) == ["handoff", "done"]
    assert events[0].handoff.reason == reason
    done = events[-1].done
    assert (done.answer, done.finish_reason, done.metadata["handoff"].string_value) == ("", "handoff", reason)
    assert done.HasField("usage"), "clients read it in every `done`"
    conversation = await bench.conversation()
    assert (conversation.handed_off, conversation.handoff_reason) == (True, reason)
    last = conversation.turns[-1]
    assert (last.role, last.text, last.state) == (pb.Turn.USER, message, pb.Turn.COMPLETE)
    assert conversation.turn_count == len(conversation.turns)
    assert len(bench.upstream.chats) == asked, "the model was asked"


async def test_on_request(bench: ChatBench):
    await bench.agent()
    await bench.say()
    await handed_off(bench, "requested", ASKED)
    answer = await bench.say("¿Hay alguien?")
    assert (answer.answer, answer.finish_reason, answer.success) == ("", "handoff", True)
    assert answer.metadata["handoff"].string_value == "requested"
    assert answer.message == "a human has the conversation"


async def test_who_hears_of_it_finds_the_conversation_handed_off(bench: ChatBench, monkeypatch: pytest.MonkeyPatch):
    await bench.agent()
    given_back, change = asyncio.Event(), MongoConversations.change

    async def waiting(self: MongoConversations, tenant: str, uid: str, owner: str, fields: dict[str, Any]) -> bool:
        if fields.get("owned_until") == 0:
            await given_back.wait()
        return await change(self, tenant, uid, owner, fields)

    monkeypatch.setattr(MongoConversations, "change", waiting)
    events = aiter(bench.stream(ASKED))
    assert kinds([await anext(events), await anext(events)]) == ["handoff", "done"]
    conversation = await bench.conversation()
    given_back.set()
    assert (conversation.handed_off, conversation.handoff_reason) == (True, "requested")
    assert [event async for event in events] == []


async def test_not_on_request_where_the_rule_does_not_say_so(bench: ChatBench):
    await bench.agent(handoff={"on_request": False})
    assert (await bench.say(ASKED)).finish_reason == "stop"


async def test_on_a_low_score(bench: ChatBench):
    await bench.agent(handoff={"min_score": 0.5})
    assert (await bench.say()).finish_reason == "stop"
    events, failure = await read(bench.stream("Receta de paella valenciana con conejo"))
    assert failure is None
    assert kinds(events) == ["handoff", "done"]
    assert events[0].handoff.reason == "low_score"
    assert events[-1].done.usage.total_tokens > 0, "the search was paid"
    assert len(bench.upstream.chats) == 1
    turns = await bench.turns()
    assert turns[2].text.startswith("Receta")
    assert all(turn.state == pb.Turn.COMPLETE for turn in turns), "nothing is left running"


async def test_a_low_score_said_again_is_the_same(bench: ChatBench):
    await bench.agent(handoff={"min_score": 0.5})
    first = await bench.say("Receta de paella valenciana", request_id="k-1")
    turns = await bench.turns()
    again = await bench.say("Receta de paella valenciana", request_id="k-1")
    assert (first.finish_reason, again.finish_reason) == ("handoff", "handoff")
    assert again.metadata["handoff"].string_value == "low_score"
    assert again.message_id == first.message_id
    assert await bench.turns() == turns


async def test_after_failures_in_a_row(bench: ChatBench):
    await bench.agent(handoff={"max_failures": 2})
    for act in (Act(status=500), Act(), Act(status=500), Act(status=401)):
        bench.upstream.then(act)
        await read(bench.stream())
    await handed_off(bench, "failures", "¿Por qué no contesta?")
    await bench.call("HandBack", session_id="s-1")
    assert (await bench.say()).finish_reason == "stop"


async def test_a_human_takes_over_and_hands_back(bench: ChatBench):
    await bench.agent()
    await bench.say()
    taken = await bench.call("HandOff", session_id="s-1", reason="cliente enfadado")
    assert (taken.conversation.handed_off, taken.conversation.handoff_reason) == (True, "cliente enfadado")
    await handed_off(bench, "cliente enfadado", "¿Me ayuda alguien?")
    said = await bench.call("AddTurn", session_id="s-1", mensaje="Soy Marta, le ayudo.", author="Marta")
    assert (said.turn.role, said.turn.author, said.turn.text) == (pb.Turn.HUMAN, "Marta", "Soy Marta, le ayudo.")
    back = (await bench.call("HandBack", session_id="s-1")).conversation
    assert (back.handed_off, back.handoff_reason) == (False, "")
    assert (await bench.say("Gracias, ¿y la factura?")).finish_reason == "stop"
    assert [turn.role for turn in await bench.turns()] == [
        pb.Turn.USER,
        pb.Turn.ASSISTANT,
        pb.Turn.USER,
        pb.Turn.HUMAN,
        pb.Turn.USER,
        pb.Turn.ASSISTANT,
    ]
    assert [message["content"] for message in bench.prompt()[3:]] == [
        "¿Me ayuda alguien?",
        "Soy Marta, le ayudo.",
        "Gracias, ¿y la factura?",
    ]


async def test_a_human_says_nothing_while_the_bot_has_it(bench: ChatBench):
    await bench.agent()
    await bench.say()
    failure = await refused(bench.call("AddTurn", session_id="s-1", mensaje="Hola"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_HANDED_OFF")
    assert len(await bench.turns()) == 2


async def test_what_a_human_says_again_is_stored_once(bench: ChatBench):
    await bench.agent()
    await bench.say(ASKED)
    turn = {"session_id": "s-1", "mensaje": "Le ayudo.", "request_id": "h-1"}
    first = (await bench.call("AddTurn", **turn)).turn
    for number in range(13):
        await bench.call("AddTurn", session_id="s-1", mensaje=f"Mensaje {number}")
    again = (await bench.call("AddTurn", **turn)).turn
    assert again == first
    conversation = await bench.conversation()
    assert conversation.turn_count == len(conversation.turns) == 15


async def test_what_a_visitor_says_again_to_a_human_is_stored_once(bench: ChatBench):
    await bench.agent()
    first = await bench.say(ASKED, request_id="k-1")
    for number in range(13):
        await bench.say(f"Mensaje {number}")
    again = await bench.say(ASKED, request_id="k-1")
    assert (again.message_id, again.finish_reason) == (first.message_id, "handoff")
    conversation = await bench.conversation()
    assert conversation.turn_count == len(conversation.turns) == 14


async def test_a_late_repetition_does_not_hand_off_again(bench: ChatBench):
    await bench.agent()
    await bench.say(ASKED, request_id="k-1")
    await bench.call("HandBack", session_id="s-1")
    again = await bench.say(ASKED, request_id="k-1")
    assert again.finish_reason == "handoff"
    assert not (await bench.conversation()).handed_off
    assert len(await bench.turns()) == 1


@pytest.mark.parametrize("name", ["HandOff", "HandBack", "AddTurn"])
async def test_a_conversation_that_is_not_there(bench: ChatBench, name: str):
    fields = {"mensaje": "Hola"} if name == "AddTurn" else {}
    failure = await refused(bench.call(name, session_id="nobody", **fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_a_human_says_something(bench: ChatBench, text: str):
    await bench.agent()
    await bench.say(ASKED)
    failure = await refused(bench.call("AddTurn", session_id="s-1", mensaje=text))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert QUESTION not in failure.message
