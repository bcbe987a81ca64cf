"""Conversations over gRPC: listed, read, deleted, begun again, and seen by their tenant only."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import grpc
import pytest

from common.store import Store
from tests.fakes.calls import refused
from tests.fakes.chat_bench import ChatBench, chatting, read, until_delta
from tests.fakes.llm_upstream import Act

CODE = grpc.StatusCode


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[ChatBench]:
    async with chatting(store) as bench:
        await bench.agent()
        yield bench


async def listed(bench: ChatBench, **fields: object) -> list[str]:
    """All sessions, page by page."""
    sessions: list[str] = []
    token = ""
    while True:
        page = await bench.call("ListConversations", page_token=token, **fields)
        assert all(not conversation.turns for conversation in page.conversations)
        sessions += [conversation.session_id for conversation in page.conversations]
        token = page.next_page_token
        if not token:
            return sessions


async def test_pages_the_last_active_first(bench: ChatBench):
    for session in ("a", "b", "c", "d", "e"):
        await bench.say(session_id=session)
    await bench.say("¿Y?", session_id="b")
    assert await listed(bench, page_size=2) == ["b", "e", "d", "c", "a"]
    assert await listed(bench) == ["b", "e", "d", "c", "a"]


async def test_conversations_of_the_same_moment_are_listed_once_each(bench: ChatBench):
    for session in ("a", "b", "c", "d", "e"):
        await bench.say(session_id=session)
        rows = bench.store.rows("acme", "conversations")
        assert await rows.update({"session_id": session}, {"$set": {"updated_at": 1_000}})
    assert await listed(bench, page_size=2) == ["a", "b", "c", "d", "e"]


async def test_those_a_human_has(bench: ChatBench):
    for session in ("a", "b", "c"):
        await bench.say(session_id=session)
    for session in ("a", "c"):
        await bench.call("HandOff", session_id=session)
    assert await listed(bench, handed_off=True, page_size=1) == ["c", "a"]
    await bench.call("HandBack", session_id="a")
    assert await listed(bench, handed_off=True) == ["c"]


async def test_a_conversation_that_fits_in_no_message_is_read_page_by_page_the_newest_first(bench: ChatBench):
    await bench.say()
    rows, conversation = bench.store.rows("acme", "turns"), await bench.store.rows("acme", "conversations").find_one({})
    one = await rows.find_one({"number": 2})
    assert one is not None and conversation is not None
    for number in range(3, 403, 50):
        some = [{**one, "_id": f"t-{n}", "number": n, "text": f"{n} " + "ñ" * 7_990} for n in range(number, number + 50)]
        assert await rows.insert_missing(some) == []
    read_back: list[str] = []
    token = ""
    while True:
        page = await bench.call("GetConversation", session_id="s-1", page_token=token)
        assert page.ByteSize() < 4 * 1024 * 1024
        read_back = [turn.text.partition(" ")[0] for turn in page.conversation.turns] + read_back
        token = page.next_page_token
        if not token:
            break
    assert read_back[2:] == [str(number) for number in range(3, 403)]
    handed = await bench.call("HandOff", session_id="s-1")
    assert (handed.conversation.handed_off, bool(handed.next_page_token)) == (True, True)
    assert handed.conversation.turns[-1].text.startswith("402 ")
    assert not (await bench.call("HandBack", session_id="s-1")).conversation.handed_off
    answer = await bench.say("¿Y ahora?")
    assert answer.finish_reason == "stop"


async def test_agents_that_fit_in_no_message_are_listed_page_by_page(bench: ChatBench):
    for _ in range(100):
        await bench.agent(instructions="ñ" * 20_000)
    numbers: list[int] = []
    token = ""
    while True:
        page = await bench.call("ListAgents", page_size=1000, page_token=token)
        numbers += [agent.id_agente for agent in page.agents]
        token = page.next_page_token
        if not token:
            break
    assert numbers == list(range(1, 102))


async def test_what_is_kept_of_a_visitor_is_bounded(bench: ChatBench):
    failure = await refused(bench.say(visitor={"metadata": {"notes": "ñ" * 10_000}}))
    assert (failure.code, failure.body.error.type) == (CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert "visitor.metadata: must be at most 16 KiB" in failure.message
    await bench.say(visitor={"metadata": {"notes": "x" * 16_000}})
    assert (await bench.conversation()).visitor.metadata["notes"] == "x" * 16_000


@pytest.mark.parametrize("token", [b"-1", b"x", "٣".encode(), b"99999999999999999999"])
async def test_a_foreign_page_token_of_turns(bench: ChatBench, token: bytes):
    await bench.say()
    page_token = base64.urlsafe_b64encode(token).decode()
    failure = await refused(bench.call("GetConversation", session_id="s-1", page_token=page_token))
    assert failure.code is CODE.INVALID_ARGUMENT


@pytest.mark.parametrize("token", [b"abc", b"[1]", b"{}", b'[1e400, "x"]', b'["x", "y"]', b'[1, "\\ud800"]'])
async def test_a_foreign_page_token(bench: ChatBench, token: bytes):
    failure = await refused(bench.call("ListConversations", page_token=base64.urlsafe_b64encode(token).decode()))
    assert failure.code is CODE.INVALID_ARGUMENT


async def test_a_deleted_conversation_is_gone_with_its_turns(bench: ChatBench):
    bench.upstream.then(Act(words=["Secreto."]))
    first = await bench.say(request_id="k-1")
    await bench.call("DeleteConversation", session_id="s-1")
    for name in ("GetConversation", "DeleteConversation"):
        failure = await refused(bench.call(name, session_id="s-1"))
        assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "CONVERSATION_NOT_FOUND")
    assert await listed(bench) == []
    assert await bench.store.all_tenants("turns").count({}) == 0
    again = await bench.say(request_id="k-1")
    assert again.message_id != first.message_id, "a conversation begun again answers anew"
    assert len(await bench.turns()) == 2
    assert "Secreto." not in str(bench.prompt())


async def test_a_conversation_deleted_while_it_is_answered_stays_deleted(bench: ChatBench):
    bench.upstream.then(Act(words=["Uno."] * 10, pause_s=0.03))
    call = bench.stream(request_id="k-1")
    await until_delta(call)
    await bench.call("DeleteConversation", session_id="s-1")
    events, failure = await read(call)
    assert failure is None
    assert events[-1].done.answer == "Uno." * 10
    assert await listed(bench) == []
    assert await bench.store.all_tenants("turns").count({}) == 0
    await bench.say("Otra")
    assert (await bench.turns())[0].text == "Otra"


async def test_two_tenants_see_nothing_of_each_other(bench: ChatBench):
    await bench.agent(tenant="other", name="Luis", instructions="De la otra casa.")
    bench.upstream.then(Act(words=["Para acme."]), Act(words=["Para other."]))
    ours = await bench.say("Mensaje de acme", request_id="k-1")
    theirs = await bench.say("Mensaje de other", request_id="k-1", tenant="other")
    assert (ours.answer, theirs.answer) == ("Para acme.", "Para other.")
    assert ours.message_id != theirs.message_id
    assert "acme" not in str(bench.prompt()).lower()
    assert [turn.text for turn in await bench.turns()] == ["Mensaje de acme", "Para acme."]
    assert [turn.text for turn in await bench.turns(tenant="other")] == ["Mensaje de other", "Para other."]
    await bench.call("HandOff", session_id="s-1", tenant="other")
    assert not (await bench.conversation()).handed_off
    await bench.call("DeleteConversation", session_id="s-1", tenant="other")
    assert len(await bench.turns()) == 2
    assert await listed(bench, tenant="other") == []
    await bench.call("DeleteAgent", id_agente=1, tenant="other")
    assert (await bench.call("GetAgent", id_agente=1)).agent.name == "Ana"


@pytest.mark.parametrize("name", ["GetConversation", "DeleteConversation", "HandOff", "HandBack"])
async def test_anothers_conversation_is_not_there(bench: ChatBench, name: str):
    await bench.say()
    failure = await refused(bench.call(name, session_id="s-1", tenant="other"))
    assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "CONVERSATION_NOT_FOUND")
    assert len(await bench.turns()) == 2


@pytest.mark.parametrize("name", ["Chat", "StreamChat", "ListAgents", "ListConversations", "ListModels", "VerifyApiKey"])
async def test_a_call_without_a_tenant_is_refused(bench: ChatBench, name: str):
    fields = {"id_agente": 1, "session_id": "s-1", "mensaje": "Hola"} if "Chat" in name else {}
    failure = await refused(bench.call(name, tenant="", **fields))
    assert (failure.code, failure.reason) == (CODE.UNAUTHENTICATED, "UNAUTHENTICATED")
