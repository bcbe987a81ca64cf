"""Agents over gRPC: created once, changed by mask, listed by page, seen by their tenant only."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from common.store import Store
from tests.fakes.calls import refused
from tests.fakes.chat_bench import ChatBench, chatting

CODE = grpc.StatusCode
FULL = {
    "id_agente": 7,
    "name": "Ana",
    "instructions": "Sé breve.",
    "model": "llama-3.3-70b-versatile",
    "temperature": 0.25,
    "language": "es",
    "collections": ["manual", "pagos"],
    "k": 3,
    "handoff": {"on_request": True, "min_score": 0.5, "max_failures": 2},
}


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[ChatBench]:
    async with chatting(store) as bench:
        yield bench


async def test_an_agent_is_as_it_was_created(bench: ChatBench):
    made = (await bench.call("CreateAgent", agent=FULL)).agent
    assert (made.id_agente, made.name, list(made.collections), made.k) == (7, "Ana", ["manual", "pagos"], 3)
    assert (made.temperature, made.language, made.instructions) == (0.25, "es", "Sé breve.")
    assert (made.handoff.on_request, made.handoff.min_score, made.handoff.max_failures) == (True, 0.5, 2)
    assert made.created_at.seconds > 0
    assert (await bench.call("GetAgent", id_agente=7)).agent == made


async def test_numbers_are_given_from_one_and_never_twice(bench: ChatBench):
    assert [await bench.agent(), await bench.agent(id_agente=3), await bench.agent(), await bench.agent()] == [1, 3, 2, 4]
    await bench.call("DeleteAgent", id_agente=4)
    assert await bench.agent() == 5


async def test_many_at_once_get_numbers_of_their_own(bench: ChatBench):
    assert sorted(await asyncio.gather(*(bench.agent() for _ in range(8)))) == list(range(1, 9))


async def test_a_change_is_seen_by_the_next_message(bench: ChatBench):
    """Agents are kept at hand for messages; a change of this server's, and a deletion, are not waited for."""
    await bench.call("CreateAgent", agent={"id_agente": 7, "name": "Ana", "model": "uno"})
    await bench.call("Chat", id_agente=7, mensaje="hola", session_id="s1")
    await bench.call("UpdateAgent", id_agente=7, agent={"model": "dos"})
    await bench.call("Chat", id_agente=7, mensaje="hola", session_id="s2")
    await bench.call("DeleteAgent", id_agente=7)
    failure = await refused(bench.call("Chat", id_agente=7, mensaje="hola", session_id="s3"))
    assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "AGENT_NOT_FOUND")


async def test_a_taken_number(bench: ChatBench):
    await bench.agent(id_agente=7, name="Ana")
    failure = await refused(bench.call("CreateAgent", agent={"id_agente": 7, "name": "Luis"}))
    assert (failure.code, failure.reason) == (CODE.ALREADY_EXISTS, "AGENT_ALREADY_EXISTS")
    assert (await bench.call("GetAgent", id_agente=7)).agent.name == "Ana"


async def test_an_unknown_collection(bench: ChatBench):
    failure = await refused(bench.call("CreateAgent", agent={"name": "Ana", "collections": ["manual", "nothing"]}))
    assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "COLLECTION_NOT_FOUND")
    await bench.agent()
    failure = await refused(bench.call("UpdateAgent", id_agente=1, agent={"collections": ["nothing"]}))
    assert failure.detail("ResourceNotFound").resource_id == "nothing"
    assert list((await bench.call("GetAgent", id_agente=1)).agent.collections) == ["manual"]


@pytest.mark.parametrize("number", [0, 7])
async def test_a_repeated_request_creates_one(bench: ChatBench, number: int):
    fields = {"agent": {"name": "Ana", "id_agente": number}, "request_id": "k-1"}
    first = (await bench.call("CreateAgent", **fields)).agent
    assert (await bench.call("CreateAgent", **fields)).agent == first
    assert len((await bench.call("ListAgents")).agents) == 1


@pytest.mark.parametrize("number", [0, 7])
async def test_a_request_sent_many_times_at_once_creates_one(bench: ChatBench, number: int):
    fields = {"agent": {"name": "Ana", "id_agente": number}, "request_id": "k-1"}
    made = await asyncio.gather(*(bench.call("CreateAgent", **fields) for _ in range(6)))
    assert len({response.agent.id_agente for response in made}) == 1
    assert len((await bench.call("ListAgents")).agents) == 1


async def test_a_change_by_mask(bench: ChatBench):
    await bench.call("CreateAgent", agent=FULL)
    agent = {"name": "Luis", "instructions": "x", "k": 0}
    changed = (await bench.call("UpdateAgent", id_agente=7, agent=agent, update_mask="name,k,temperature")).agent
    assert (changed.name, changed.k, changed.HasField("temperature"), changed.instructions) == ("Luis", 0, False, "Sé breve.")
    assert (await bench.call("GetAgent", id_agente=7)).agent == changed


async def test_a_change_without_a_mask_changes_what_was_sent(bench: ChatBench):
    await bench.call("CreateAgent", agent=FULL)
    changed = (await bench.call("UpdateAgent", id_agente=7, agent={"language": "en", "handoff": {"max_failures": 5}})).agent
    assert (changed.language, changed.name, changed.k) == ("en", "Ana", 3)
    assert (changed.handoff.on_request, changed.handoff.max_failures) == (False, 5)


async def test_a_rule_that_is_taken_away_is_the_usual_one(bench: ChatBench):
    await bench.call("CreateAgent", agent=FULL)
    changed = (await bench.call("UpdateAgent", id_agente=7, agent={}, update_mask="handoff")).agent
    assert (changed.handoff.on_request, changed.handoff.min_score, changed.handoff.max_failures) == (True, 0, 0)
    assert (await bench.call("GetAgent", id_agente=7)).agent == changed


@pytest.mark.parametrize(("mask", "agent"), [("idAgente", {}), ("nothing", {}), ("createdAt", {}), ("name", {"name": " "})])
async def test_a_change_that_is_none(bench: ChatBench, mask: str, agent: dict[str, Any]):
    await bench.call("CreateAgent", agent=FULL)
    failure = await refused(bench.call("UpdateAgent", id_agente=7, agent=agent, update_mask=mask))
    assert failure.code is CODE.INVALID_ARGUMENT
    assert (await bench.call("GetAgent", id_agente=7)).agent.name == "Ana"


@pytest.mark.parametrize("name", ["GetAgent", "UpdateAgent", "DeleteAgent"])
async def test_an_agent_that_is_not_there(bench: ChatBench, name: str):
    await bench.agent(tenant="other")
    fields = {"agent": {"name": "x"}} if name == "UpdateAgent" else {}
    failure = await refused(bench.call(name, id_agente=1, **fields))
    assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "AGENT_NOT_FOUND")
    assert (await bench.call("GetAgent", tenant="other", id_agente=1)).agent.name == "Ana"


async def test_a_deleted_agent_is_gone_and_its_conversations_stay(bench: ChatBench):
    await bench.agent()
    await bench.say()
    await bench.call("DeleteAgent", id_agente=1)
    assert (await refused(bench.say())).reason == "AGENT_NOT_FOUND"
    assert len(await bench.turns()) == 2


async def test_pages_by_number(bench: ChatBench):
    for number in (12, 3, 8, 1, 40):
        await bench.agent(id_agente=number)
    seen, token = [], ""
    while True:
        page = await bench.call("ListAgents", page_size=2, page_token=token)
        seen.append([agent.id_agente for agent in page.agents])
        token = page.next_page_token
        if not token:
            break
    assert seen == [[1, 3], [8, 12], [40]]


FOREIGN = ["x", "¡!", *(base64.urlsafe_b64encode(text).decode() for text in (b"abc", b"-1", b"9" * 40, b"\xff", b"[1]"))]


@pytest.mark.parametrize("token", FOREIGN)
async def test_a_foreign_page_token(bench: ChatBench, token: str):
    failure = await refused(bench.call("ListAgents", page_token=token))
    assert failure.code is CODE.INVALID_ARGUMENT


BAD: dict[str, dict[str, Any]] = {
    "no name": {"name": ""},
    "a blank name": {"name": " \n"},
    "a language that is none": {"name": "Ana", "language": "spanish"},
    "a hot temperature": {"name": "Ana", "temperature": 3},
    "a negative number": {"name": "Ana", "id_agente": -1},
    "a score above one": {"name": "Ana", "handoff": {"min_score": 1.5}},
}


@pytest.mark.parametrize("agent", BAD.values(), ids=BAD.keys())
async def test_bad_input(bench: ChatBench, agent: dict[str, Any]):
    assert (await refused(bench.call("CreateAgent", agent=agent))).code is CODE.INVALID_ARGUMENT
    assert not (await bench.call("ListAgents")).agents
