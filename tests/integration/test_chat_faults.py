"""A model's provider fails in all its ways: the right status or event, a stored turn, and the next message works."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from malla.chat.v1 import chat_pb2 as pb

from common.store import Store
from tests.fakes.calls import refused
from tests.fakes.chat_bench import LIGHT, QUESTION, chatting, kinds, read
from tests.fakes.llm_upstream import Act
from tests.fakes.waiting import until

CODE = grpc.StatusCode
QUICK = {"groq_timeout_s": 0.3, "llm_idle_timeout_s": 0.3}
TOO_LONG = Act(status=413, body={"error": {"message": "Request too large", "code": "request_too_large"}})
GARBAGE = b"data: {broken\n\n"
SECRET = "the provider's own words"
TOLD = {"error": {"message": SECRET}}

# What the upstream does; the status, the reason, and what was said before it.
FAULTS: dict[str, tuple[Act, grpc.StatusCode, str, str]] = {
    "401": (Act(status=401, body=TOLD), CODE.FAILED_PRECONDITION, "LLM_KEY_REJECTED", ""),
    "403": (Act(status=403, body=TOLD), CODE.FAILED_PRECONDITION, "LLM_KEY_REJECTED", ""),
    "404": (Act(status=404, body=TOLD), CODE.NOT_FOUND, "MODEL_NOT_FOUND", ""),
    "400": (Act(status=400, body=TOLD), CODE.INVALID_ARGUMENT, "LLM_REQUEST_REFUSED", ""),
    "429": (Act(status=429, body=TOLD), CODE.RESOURCE_EXHAUSTED, "LLM_RATE_LIMITED", ""),
    "429 later": (Act(status=429, headers={"retry-after": "7"}), CODE.RESOURCE_EXHAUSTED, "LLM_RATE_LIMITED", ""),
    "500": (Act(status=500, body=TOLD), CODE.UNAVAILABLE, "LLM_UNAVAILABLE", ""),
    "503": (Act(status=503, body=TOLD), CODE.UNAVAILABLE, "LLM_UNAVAILABLE", ""),
    "silence": (Act(hang="headers"), CODE.DEADLINE_EXCEEDED, "LLM_TIMEOUT", ""),
    "silence before the first token": (Act(hang="first"), CODE.DEADLINE_EXCEEDED, "LLM_TIMEOUT", ""),
    "silence between tokens": (Act(words=["Sin ", "señal"], hang="next"), CODE.DEADLINE_EXCEEDED, "LLM_TIMEOUT", "Sin "),
    "cut before the first token": (Act(cut_after=0), CODE.UNAVAILABLE, "LLM_UNAVAILABLE", ""),
    "cut": (Act(words=["Sin ", "señal"], cut_after=1, pause_s=0.05), CODE.UNAVAILABLE, "LLM_UNAVAILABLE", "Sin "),
    "broken events": (Act(raw=GARBAGE), CODE.UNAVAILABLE, "LLM_UNAVAILABLE", ""),
}


@pytest.mark.parametrize(("act", "code", "reason", "said"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_is_told_stored_and_over(store: Store, act: Act, code: grpc.StatusCode, reason: str, said: str):
    async with chatting(store, llm=QUICK) as bench:
        await bench.agent(model="has-no-successor")
        bench.upstream.then(act)
        events, failure = await read(bench.stream())
        assert failure is not None
        assert (failure.code, failure.reason) == (code, reason)
        assert kinds(events) == ["retrieval", *["delta"] * bool(said), "error"]
        error = events[-1].error
        assert (error.type, error.code) == (reason, code.name)
        assert error.message == failure.message
        assert SECRET not in str(events) + str(failure)
        turn = (await bench.turns())[1]
        assert (turn.state, turn.text, turn.finish_reason) == (pb.Turn.FAILED, said, "error")
        answer = await bench.say("¿Y ahora?")
        assert answer.finish_reason == "stop"
        assert {"role": "user", "content": QUESTION} in bench.prompt()


@pytest.mark.parametrize(("act", "code", "reason", "said"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_whole_answer_fails_with_the_same_status(store: Store, act: Act, code: grpc.StatusCode, reason: str, said: str):
    async with chatting(store, llm=QUICK) as bench:
        await bench.agent(model="has-no-successor")
        bench.upstream.then(act)
        failure = await refused(bench.say())
        assert (failure.code, failure.reason, failure.body.error.type) == (code, reason, reason)
        assert (await bench.turns())[1].text == said
        assert not (await bench.conversation()).handed_off


async def test_a_rate_limit_says_when_to_come_back(store: Store):
    async with chatting(store) as bench:
        await bench.agent()
        bench.upstream.then(Act(status=429, headers={"retry-after": "7"}))
        assert (await refused(bench.say())).detail("RetryInfo").retry_delay.seconds == 7


async def test_a_context_too_long_drops_history_then_passages_and_says_so(store: Store):
    async with chatting(store) as bench:
        await bench.agent(collections=["manual", "pagos"])
        await bench.say()
        await bench.say("¿Y la factura?")
        bench.upstream.then(TOO_LONG, TOO_LONG, TOO_LONG, Act(words=["Breve [1] [2]."]))
        answer = await bench.say("¿Y la luz roja?")
        assert answer.answer == "Breve [1] [2]."
        assert answer.metadata["dropped_turns"].number_value == 4
        assert answer.metadata["dropped_passages"].number_value == 1
        prompts = [bench.prompt(asked) for asked in (-4, -3, -2, -1)]
        assert [len(prompt) for prompt in prompts] == [6, 4, 2, 2]
        assert ["[2]" in prompt[0]["content"] for prompt in prompts] == [True, True, True, False]
        assert [citation.text for citation in answer.citations] == [LIGHT], "a passage that was dropped is not cited"


async def test_a_context_that_is_always_too_long_ends(store: Store):
    async with chatting(store) as bench:
        await bench.agent()
        bench.upstream.default = TOO_LONG
        events, failure = await read(bench.stream())
        assert failure is not None
        assert (failure.code, failure.reason) == (CODE.INVALID_ARGUMENT, "CONTEXT_TOO_LONG")
        assert kinds(events) == ["retrieval", "error"]
        assert len(bench.upstream.chats) == 2


@pytest.mark.parametrize(("usage", "tokens"), [("both", 3), ("x_groq", 3), ("never", None)])
async def test_usage_is_counted_once_or_estimated(store: Store, usage: str, tokens: int | None):
    async with chatting(store) as bench:
        await bench.agent()
        bench.upstream.then(Act(words=["Hola"], usage=usage))
        answer = await bench.say()
        assert answer.usage.estimated is (tokens is None)
        assert answer.usage.output_tokens == tokens if tokens else answer.usage.output_tokens > 0
        assert (await bench.turns())[1].usage == answer.usage


async def test_events_cut_anywhere_are_read_whole(store: Store):
    async with chatting(store) as bench:
        await bench.agent()
        bench.upstream.then(Act(words=["Señal ", "óptica ✓"], split=True))
        assert (await bench.say()).answer == "Señal óptica ✓"


async def test_a_failed_message_sent_again_is_answered_in_its_place(store: Store):
    async with chatting(store) as bench:
        await bench.agent()
        bench.upstream.then(Act(status=500))
        await refused(bench.say(request_id="k-1"))
        answer = await bench.say(request_id="k-1")
        assert answer.answer
        turns = await bench.turns()
        assert [turn.state for turn in turns] == [pb.Turn.COMPLETE, pb.Turn.COMPLETE]
        assert turns[1].message_id == answer.message_id
        assert len(bench.prompt()) == 2


async def test_a_fallback_answers_before_the_first_token(store: Store):
    async with chatting(store, llm={"llm_fallback": "gemma2-9b-it"}) as bench:
        await bench.agent(model="llama-3.3-70b-versatile")
        bench.upstream.then(Act(status=500))
        answer = await bench.say()
        assert (answer.answer, len(bench.upstream.chats)) == ("Hola, mundo ✓", 2)
        assert "llama-3.3-70b-versatile" in answer.metadata["notice"].string_value


async def test_a_collection_that_is_gone_is_a_failed_turn_too(store: Store):
    async with chatting(store) as bench:
        number = await bench.agent(collections=["manual"])
        assert number == 1
        await bench.store.rows("acme", "agents").update({"id_agente": 1}, {"$set": {"collections": ["gone"]}})
        failure = await refused(bench.stream())
        assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "COLLECTION_NOT_FOUND")
        assert [turn.state for turn in await bench.turns()] == [pb.Turn.COMPLETE, pb.Turn.FAILED]
        assert not bench.upstream.chats


async def test_silence_is_broken_by_heartbeats(store: Store):
    async with chatting(store, heartbeat_s=0.05) as bench:
        await bench.agent()
        bench.upstream.then(Act(words=["Sin ", "señal"], hang="next"))
        call, seen = bench.stream(), []
        async for event in call:
            seen.append(event)
            if kinds(seen).count("heartbeat") == 3:
                break
        call.cancel()
        assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
        await until(lambda: bench.upstream.chats[0].left_at, 5)


async def test_a_message_over_the_limit_of_the_server_is_refused(store: Store):
    async with chatting(store) as bench:
        await bench.agent()
        fields: dict[str, Any] = {"visitor": {"metadata": {"x": "y" * 9_000_000}}}
        failure = await refused(bench.say(**fields))
        assert failure.code is CODE.RESOURCE_EXHAUSTED
        assert json.dumps(fields)[:10] not in failure.message
        assert (await bench.say()).answer
