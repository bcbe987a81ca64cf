"""The client's calls about chat, agents and conversations, and the terminal conversation as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from contextlib import aclosing

import pytest
from malla.chat.v1 import chat_pb2 as pb

from common.client import MallaClient
from common.errors import Code, MallaError, UnavailableError
from common.models import HandoffRule, TurnRole, TurnState, Visitor
from tests.fakes.call_centre import running_call_centre
from tests.fakes.waiting import until


@pytest.fixture
async def served():
    async with running_call_centre() as (centre, address):
        yield centre, address


@pytest.fixture
def centre(served):
    return served[0]


@pytest.fixture
async def malla(served):
    async with MallaClient(served[1]) as client:
        yield client


async def test_a_message_is_answered_whole(malla, centre):
    answer = await malla.chat(1, "s-1", "¿?", origin="web", temperature=0.0, k=3, visitor=Visitor(name="Eva"), request_id="r")
    assert (answer.answer, answer.session_id, answer.citations[0].index) == ("$499 [1]", "s-1", 1)
    [request] = centre.requests
    assert (request.id_agente, request.mensaje, request.origin, request.k) == (1, "¿?", "web", 3)
    assert (request.HasField("temperature"), request.visitor.name, request.request_id) == (True, "Eva", "r")


async def test_what_the_channel_makes_again_is_done_once(malla, centre):
    centre.lost_answers = 2
    assert (await malla.create_agent("Ana")).id_agente == 1
    assert (list(centre.agents), centre.lost_answers) == ([1], 0)
    assert (await malla.create_agent("Ana")).id_agente == 2, "asked for twice"


async def test_an_option_that_does_not_exist_is_a_mistake(malla):
    with pytest.raises(TypeError, match="kk"):
        await malla.chat(1, "s-1", "¿?", kk=3)


async def test_an_answer_streams(malla, centre):
    events = [event async for event in malla.stream_chat(1, "s-1", "hola")]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert (events[0].delta.text, events[4].handoff.reason) == ("uno ", "asked")
    assert (events[-1].done.message_id, events[-1].done.metadata) == ("m1", {"model_downgraded": True})


@pytest.mark.parametrize(("mensaje", "code"), [("unknown agent", Code.NOT_FOUND), ("", Code.INVALID_ARGUMENT)])
async def test_a_failure_before_the_first_event_is_raised(malla, mensaje, code):
    with pytest.raises(MallaError) as failure:
        [event async for event in malla.stream_chat(1, "s-1", mensaje)]
    assert failure.value.code is code


async def test_a_later_failure_is_the_last_event(malla):
    events = [event async for event in malla.stream_chat(1, "s-1", "told")]
    assert (len(events), events[-1].error.type) == (2, "MODEL_FAILED")


async def test_leaving_a_stream_stops_the_model(malla, centre):
    async with aclosing(malla.stream_chat(1, "s-1", "gated")) as events:
        async for event in events:
            assert event.delta.text == "uno "
            break
    await until(lambda: centre.cancelled)


async def test_leaving_with_the_last_event_does_not_cancel_an_answered_call(malla, centre):
    async with aclosing(malla.stream_chat(1, "s-1", "tidy")) as events:
        async for event in events:
            if event.done:
                break
    await until(lambda: centre.running == 0)
    assert centre.cancelled == []


async def test_a_chat_that_cannot_be_reached_is_told_at_once():
    async with MallaClient("127.0.0.1:1", "token") as client:
        with pytest.raises(UnavailableError):
            await client.chat(1, "s-1", "¿?")


async def test_what_is_known_of_the_model(malla):
    assert [model.id for model in await malla.models()] == ["fake"]
    assert (await malla.test_connection()).latency_ms == 1.5
    said = await malla.verify_api_key()
    assert (said.success, said.valid, said.message) == (True, False, "no key")


async def test_agents(malla, centre):
    for name in ("Ana", "Bea", "Cid"):
        await malla.create_agent(name, collections=["manual"], temperature=0.0, handoff=HandoffRule(max_failures=2))
    assert [agent.name async for agent in malla.list_agents()] == ["Ana", "Bea", "Cid"]
    ana = await malla.get_agent(1)
    assert (ana.collections, ana.temperature, ana.handoff.max_failures) == (["manual"], 0.0, 2)
    assert (await malla.delete_agent(3)).success
    with pytest.raises(MallaError) as failure:
        await malla.get_agent(3)
    assert failure.value.reason == "AGENT_NOT_FOUND"


async def test_only_what_is_named_is_changed_also_to_nothing(malla, centre):
    await malla.create_agent("Ana", collections=["manual"], temperature=0.5, k=9)
    changed = await malla.update_agent(1, collections=[], temperature=None, name="Eva")
    assert (changed.name, changed.collections, changed.temperature, changed.k) == ("Eva", [], None, 9)
    assert list(centre.updates[0].update_mask.paths) == ["collections", "temperature", "name"]
    assert (await malla.update_agent(1)).name == "Eva"
    assert len(centre.updates) == 1


async def test_conversations(malla, centre):
    centre.begin("a")
    centre.begin("b", handed_off=True)
    assert [row.session_id async for row in malla.list_conversations()] == ["a", "b"]
    assert [row.session_id async for row in malla.list_conversations(handed_off=True)] == ["b"]
    assert [turn.state for turn in (await malla.get_conversation("a")).turns][1] is TurnState.CANCELLED
    assert (await malla.delete_conversation("b")).success
    assert list(centre.conversations) == ["a"]


async def test_a_human_takes_over_and_gives_back(malla, centre):
    centre.begin("a")
    with pytest.raises(MallaError) as failure:
        await malla.add_turn("a", "Soy Luis.")
    assert failure.value.code is Code.FAILED_PRECONDITION
    assert (await malla.hand_off("a", "angry")).handoff_reason == "angry"
    turn = await malla.add_turn("a", "Soy Luis.", author="Luis")
    assert (turn.role, turn.text, turn.author) == (TurnRole.HUMAN, "Soy Luis.", "Luis")
    assert not (await malla.hand_back("a")).handed_off


class Terminal:
    """`malla chat` at a terminal of its own."""

    def __init__(self, process, keyboard):
        self._process = process
        self._keyboard = keyboard

    def type(self, text):
        os.write(self._keyboard, text.encode())

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    async def reads(self, words):
        """Reads what is shown, up to these words."""
        async with asyncio.timeout(20):
            await self._process.stdout.readuntil(words.encode())

    async def ends(self):
        async with asyncio.timeout(20):
            return await self._process.wait()


async def started(address, stdin, *arguments):
    environment = {**os.environ, "MALLA_ADDRESS": address, "MALLA_TOKEN": "token"}
    command = (sys.executable, "-m", "services.cli", "chat", *arguments)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=pipe, stderr=pipe, env=environment)


@pytest.fixture
async def terminal(served):
    served[0].agents[1] = pb.Agent(id_agente=1, name="Ana")
    keyboard, theirs = pty.openpty()
    process = await started(served[1], theirs)
    os.close(theirs)
    yield Terminal(process, keyboard)
    if process.returncode is None:
        process.kill()
    await process.communicate()
    os.close(keyboard)


async def test_ctrl_c_stops_the_answer_and_not_the_conversation(terminal, centre):
    await terminal.reads("> ")
    terminal.type("gated\n")
    await terminal.reads("uno ")
    terminal.interrupt()
    await terminal.reads("[stopped]\n> ")
    await until(lambda: centre.cancelled)
    terminal.type("hola\n")
    await terminal.reads("España")
    terminal.type("\x04")
    assert await terminal.ends() == 0
    first, second = centre.requests
    assert first.session_id == second.session_id


async def test_each_line_of_a_script_is_a_message(served):
    centre, address = served
    centre.agents[1] = pb.Agent(id_agente=1, name="Ana")
    process = await started(address, asyncio.subprocess.PIPE, "--json", "--session", "s-1")
    out, err = await process.communicate("hola\n\n¿luz?\ncut\n".encode() + b"\xff\n")
    assert (process.returncode, err) == (1, b"")  # one was not answered
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["sequence"] for event in events] == [*range(1, 8), *range(1, 8), 1, 2, *range(1, 8)]
    assert events[15]["error"]["type"] == "COLLECTION_NOT_FOUND"
    assert [row.mensaje for row in centre.requests] == ["hola", "¿luz?", "cut", "\ufffd"]
    assert {row.session_id for row in centre.requests} == {"s-1"}
