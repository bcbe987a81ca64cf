"""A conversation over gRPC: what the model is asked, what comes back and what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from malla.chat.v1 import chat_pb2 as pb

from common.store import Store
from tests.fakes.calls import refused
from tests.fakes.chat_bench import BILL, LIGHT, QUESTION, ChatBench, chatting, chatting_with, kinds, read
from tests.fakes.llm_upstream import Act, Upstream


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[ChatBench]:
    async with chatting(store) as bench:
        await bench.agent(instructions="Eres Ana, de Fibra Tuna.", collections=["manual", "pagos"], language="es")
        yield bench


async def test_the_third_prompt_holds_the_first_two_turns(bench: ChatBench):
    bench.upstream.then(Act(words=["Sin señal [1]."]), Act(words=["El día ", "cinco."]))
    await bench.say(QUESTION)
    await bench.say("¿Y la factura?")
    await bench.say("Gracias, ¿algo más?")
    system, *rest = bench.prompt()
    assert [(message["role"], message["content"]) for message in rest] == [
        ("user", QUESTION),
        ("assistant", "Sin señal [1]."),
        ("user", "¿Y la factura?"),
        ("assistant", "El día cinco."),
        ("user", "Gracias, ¿algo más?"),
    ]
    assert system["role"] == "system"
    assert system["content"].startswith("Eres Ana, de Fibra Tuna.")
    assert "Answer in español." in system["content"]


async def test_the_prompt_numbers_the_passages_the_reader_is_told_of(bench: ChatBench):
    events, failure = await read(bench.stream())
    citations = events[0].retrieval.citations
    assert failure is None
    assert [citation.index for citation in citations] == [1, 2]
    assert {citation.text for citation in citations} == {LIGHT, BILL}
    system = bench.prompt()[0]["content"]
    block = system[system.index("<passages>\n") : system.index("\n</passages>")]
    assert [line for line in block.splitlines() if line.startswith("[")] == [f"[{c.index}] {c.title}" for c in citations]


async def test_a_stream_is_numbered_and_cites_only_what_was_used(bench: ChatBench):
    bench.upstream.then(Act(words=["No hay señal ", "[1]", " y [9]."], pause_s=0.02))
    events, failure = await read(bench.stream())
    assert failure is None
    assert kinds(events)[0] == "retrieval"
    assert kinds(events)[-2:] == ["usage", "done"]
    assert set(kinds(events)[1:-2]) == {"delta"}
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    done = events[-1].done
    assert "".join(event.delta.text for event in events) == done.answer == "No hay señal [1] y [9]."
    assert [(citation.index, citation.document_id) for citation in done.citations] == [(1, "luces")]
    assert (done.usage.input_tokens, done.usage.output_tokens) == (11 + 14, 3)
    assert [stage.stage for stage in done.usage.stages][-1] == "answer"


async def test_turns_are_stored_with_everything_about_them(bench: ChatBench):
    bench.upstream.then(Act(words=["Sin señal [1]."], finish="length", pause_s=0.01))
    visitor = {"visitor_id": "v-7", "name": "Eva", "metadata": {"plan": "oro"}}
    answer = await bench.say(origin="web", visitor=visitor)
    conversation = await bench.conversation()
    user, bot = conversation.turns
    assert (user.role, user.state, user.text) == (pb.Turn.USER, pb.Turn.COMPLETE, QUESTION)
    assert (bot.role, bot.state, bot.text) == (pb.Turn.ASSISTANT, pb.Turn.COMPLETE, "Sin señal [1].")
    assert (bot.finish_reason, bot.model, bot.message_id) == ("length", "llama-3.1-8b-instant", answer.message_id)
    assert [citation.text for citation in bot.citations] == [LIGHT]
    assert bot.usage == answer.usage
    assert bot.usage.output_tokens == 3
    assert not bot.usage.estimated
    assert bot.latency_ms >= 10
    assert (conversation.turn_count, conversation.origin, conversation.visitor.name) == (2, "web", "Eva")
    assert conversation.visitor.metadata["plan"] == "oro"
    assert conversation.updated_at.ToMilliseconds() >= conversation.created_at.ToMilliseconds() > 0


async def test_a_conversation_tells_its_last_agent_and_visitor(bench: ChatBench):
    await bench.agent(name="Luis")
    await bench.say(visitor={"name": "Eva"})
    await bench.say(id_agente=2)
    conversation = await bench.conversation()
    assert (conversation.id_agente, conversation.visitor.name) == (2, "Eva")
    await bench.say(visitor={"name": "Eva Ruiz"})
    conversation = await bench.conversation()
    assert (conversation.id_agente, conversation.visitor.name) == (1, "Eva Ruiz")


async def test_the_call_overrides_the_agent(bench: ChatBench):
    await bench.agent(name="Luis", model="llama-3.3-70b-versatile", temperature=0.0, k=1, collections=["manual", "pagos"])
    await bench.say(id_agente=2)
    assert bench.upstream.chats[-1].body["model"] == "llama-3.3-70b-versatile"
    assert bench.upstream.chats[-1].body["temperature"] == 0
    assert "[2]" not in bench.prompt()[0]["content"]
    await bench.say(id_agente=2, model="gemma2-9b-it", temperature=1.5, max_tokens=7, k=2)
    body = bench.upstream.chats[-1].body
    assert body["temperature"] == 1.5
    assert 7 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert "[2]" in bench.prompt()[0]["content"]


async def test_an_agent_without_a_language_answers_in_the_visitors(bench: ChatBench):
    await bench.agent(name="Luis")
    await bench.say("What does the red light of the modem mean?", id_agente=2)
    assert "Answer in English." in bench.prompt()[0]["content"]


async def test_history_stays_within_the_budget(store: Store):
    async with chatting(store, prompt_tokens=600) as bench:
        await bench.agent()
        bench.upstream.default = Act(words=["palabra " * 60])
        for number in range(5):
            answer = await bench.say(f"{QUESTION} ({number})")
        prompt = bench.prompt()
        assert sum(len(message["content"]) for message in prompt) / 3.5 <= 600
        assert LIGHT in prompt[0]["content"]
        assert prompt[-1]["content"] == f"{QUESTION} (4)"
        kept = [message["content"].removeprefix(QUESTION).strip() for message in prompt[1:-1] if message["role"] == "user"]
        assert 0 < len(kept) < 4
        assert kept == ["(0)", "(1)", "(2)", "(3)"][-len(kept) :]
        assert answer.metadata["dropped_turns"].number_value == 8 - 2 * len(kept)


async def test_a_follow_up_is_searched_with_the_question_before_it(bench: ChatBench):
    await bench.say(QUESTION)
    events, _ = await read(bench.stream("¿Y eso?"))
    assert events[0].retrieval.citations[0].document_id == "luces"


async def test_a_repeated_message_gets_the_first_answer(bench: ChatBench):
    bench.upstream.then(Act(words=["Primera [1]."]))
    first = await bench.say(request_id="k-1")
    for number in range(7):
        await bench.say(f"Otra pregunta, la número {number}")
    asked, turns = len(bench.upstream.chats), await bench.turns()
    again = await bench.say(request_id="k-1")
    events, failure = await read(bench.stream(request_id="k-1"))
    assert (len(bench.upstream.chats), await bench.turns()) == (asked, turns)
    assert (again.answer, again.message_id, again.usage) == ("Primera [1].", first.message_id, first.usage)
    assert again.citations == first.citations
    assert again.metadata["replayed"].bool_value
    assert failure is None
    assert kinds(events) == ["retrieval", "delta", "usage", "done"]
    assert events[-1].done.answer == "Primera [1]."


async def test_a_message_sent_twice_at_once_is_answered_once(bench: ChatBench):
    bench.upstream.then(Act(words=["Una ", "vez."], pause_s=0.05))
    answers = await asyncio.gather(*(bench.say(request_id="k-1") for _ in range(3)))
    assert {answer.answer for answer in answers} == {"Una vez."}
    assert len({answer.message_id for answer in answers}) == 1
    assert len(bench.upstream.chats) == 1
    assert len(await bench.turns()) == 2


BAD = {
    "an empty message": ({"mensaje": ""}, "mensaje"),
    "a blank message": ({"mensaje": " \n\t"}, "mensaje"),
    "a long message": ({"mensaje": "x" * 8001}, "mensaje"),
    "a session with a slash": ({"session_id": "a/b"}, "session_id"),
    "no agent": ({"id_agente": 0}, "id_agente"),
    "a hot temperature": ({"temperature": 2.5}, "temperature"),
}


@pytest.mark.parametrize("how", ["say", "stream"])
@pytest.mark.parametrize(("fields", "field"), BAD.values(), ids=BAD.keys())
async def test_bad_input_names_the_field(bench: ChatBench, how: str, fields: dict[str, object], field: str):
    failure = await refused(getattr(bench, how)(**fields))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [row.field for row in failure.detail("BadRequest").field_violations] == [field]
    assert not bench.upstream.chats


async def test_an_unknown_agent_leaves_no_conversation(bench: ChatBench):
    failure = await refused(bench.stream(id_agente=9))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND")
    assert (await refused(bench.call("GetConversation", session_id="s-1"))).reason == "CONVERSATION_NOT_FOUND"


async def test_without_a_model_the_answer_is_a_quote_and_says_so(store: Store):
    async with chatting_with(store, Upstream(), configured=False) as bench:
        await bench.agent()
        answer = await bench.say()
        assert answer.answer.startswith(LIGHT)
        assert "GROQ_API_KEY" in answer.metadata["notice"].string_value
        assert (await bench.turns())[-1].model == "extractive"
