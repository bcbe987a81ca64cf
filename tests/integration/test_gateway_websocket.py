"""The WebSocket of the gateway: its turns, its errors and its handshake."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from websockets.exceptions import InvalidStatus

from tests.fakes.chat import answer
from tests.fakes.gateway import Client, Gateway, gateway
from tests.fakes.waiting import until


@pytest.fixture(scope="module")
async def gate() -> AsyncIterator[Gateway]:
    async with gateway() as one:
        yield one


@pytest.fixture
async def client(gate: Gateway) -> AsyncIterator[Client]:
    async with gate.open() as one:
        yield one


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the error of a turn that ended in one."""
    error: dict[str, Any] = events[-1]["error"]
    assert set(error) == {"type", "code", "message", "details"}
    assert error["message"]
    return error


async def test_events_are_printed_as_the_edge_prints_them(client: Client) -> None:
    events = await client.ask("hola")
    printed = [
        json_format.MessageToDict(event, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for event in answer()
    ]
    assert events == [{"sequence": 1, "delta": {"text": "uno "}}, *printed]
    assert events[1]["retrieval"]["citations"][0]["chunk_id"] == ""


async def test_a_message_becomes_a_call_for_the_tenant(gate: Gateway, client: Client) -> None:
    visitor = {"name": "Ana", "metadata": {"vip": True}}
    sent = {"request_id": "k1", "origin": "web", "model": "m", "temperature": 0.5, "max_tokens": 9, "k": 3, "visitor": visitor}
    await client.ask("hola", **sent, unknown=[1], session_id="other", id_agente=99)
    request = json_format.MessageToDict(gate.chat.requests[-1], preserving_proto_field_name=True)
    assert request == {"mensaje": "hola", "session_id": "s1", "id_agente": 7, **sent}
    seen = gate.chat.metadata[-1]
    assert (seen["x-tenant-id"], seen["x-tier"], seen["x-user-id"], seen["x-session-id"]) == ("acme", "pro", "ana", "s1")
    assert seen["x-request-id"] == "r1-1"
    assert "authorization" not in seen


async def test_many_turns_on_one_socket(gate: Gateway, client: Client) -> None:
    before = len(gate.chat.requests)
    for _ in range(3):
        assert [event["sequence"] for event in await client.ask("hola")] == [1, 2, 3, 4, 5, 6, 7]
    keys = {request.request_id for request in gate.chat.requests[before:]}
    assert len(keys) == 3
    assert "" not in keys  # the mesh may send a call again: never without an idempotency key
    assert [row["x-request-id"] for row in gate.chat.metadata[before:]] == ["r1-1", "r1-2", "r1-3"]


async def test_closing_with_the_last_event_does_not_cancel_an_answered_call(gate: Gateway) -> None:
    before = len(gate.chat.cancelled)
    async with gate.open() as client:
        assert "done" in (await client.ask("tidy"))[-1]
    await until(lambda: gate.chat.running == 0)
    assert len(gate.chat.cancelled) == before


async def test_messages_wait_their_turn_and_too_many_are_refused_in_theirs() -> None:
    async with gateway(websocket_queue=2) as gate, gate.open() as client:
        await client.say("gated")
        assert (await client.event())["sequence"] == 1
        for number in range(5):
            await client.say(f"m{number}")
        await client.connection.ping()  # the gateway has read all before the ping
        gate.chat.gate.set()
        assert (await client.turn())[-1].keys() == {"sequence", "done"}
        ends = [(await client.turn())[-1] for _ in range(5)]
        assert [("done" in end) for end in ends] == [True, True, False, False, False]
        assert {(end["sequence"], end["error"]["code"], end["error"]["type"]) for end in ends[2:]} == {
            (1, "RESOURCE_EXHAUSTED", "OVERLOADED")
        }
        assert [request.mensaje for request in gate.chat.requests] == ["gated", "m0", "m1"]
        assert gate.chat.most_running == 1
        assert (await client.ask("hola"))[-1].keys() == {"sequence", "done"}


@pytest.mark.parametrize(
    ("mensaje", "sequence", "code", "kind"),
    [
        ("unknown agent", 1, "NOT_FOUND", "AGENT_NOT_FOUND"),
        ("broken", 1, "INTERNAL", "INTERNAL"),
        ("nothing", 1, "UNAVAILABLE", "DEPENDENCY_UNAVAILABLE"),
        ("cut", 2, "NOT_FOUND", "COLLECTION_NOT_FOUND"),
        ("told", 2, "UNAVAILABLE", "MODEL_FAILED"),
        ("a" * 8001, 1, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    ],
    ids=lambda value: str(value)[:14],
)
async def test_a_turn_that_fails_ends_in_one_error_and_the_next_works(
    client: Client, mensaje: str, sequence: int, code: str, kind: str
) -> None:
    events = await client.ask(mensaje)
    error = events[-1]["error"]
    assert (events[-1]["sequence"], error["code"], error["type"]) == (sequence, code, kind)
    assert len(events) == sequence
    assert "hunter2" not in str(events)
    assert (await client.ask("hola"))[0] == {"sequence": 1, "delta": {"text": "uno "}}


async def test_details_of_a_failure_are_kept(client: Client) -> None:
    error = error_of(await client.ask("unknown agent"))
    assert error["details"] == {"resource_type": "agent", "resource_id": "1"}
    assert error["message"].startswith("There is no agent '1'.")


async def test_without_a_query_server_a_turn_fails_and_the_socket_stays() -> None:
    async with gateway(mesh_address="127.0.0.1:1") as gate, gate.open() as client:
        for _ in range(2):
            assert error_of(await client.ask("hola"))["code"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("", "no JSON"),
        ('{"mensaje": "a', "no JSON"),
        ("[" * 60_000, "no JSON"),
        ('["hola"]', "no JSON object"),
        ('"hola"', "no JSON object"),
        ("{}", "mensaje"),
        ('{"mensaje": ""}', "mensaje"),
        ('{"mensaje": null}', "mensaje"),
        ('{"mensaje": 5}', "mensaje"),
        ('{"mensaje": "\\ud800"}', "no JSON"),
        ('{"mensaje": "a", "\\ud800": 1}', "no JSON"),
        ('{"mensaje": "a", "visitor": {"\\ud800": 1}}', "no JSON"),
        ('{"mensaje": "a", "temperature": "\\ud800"}', "no JSON"),
        ('{"mensaje": "a", "k": ' + "9" * 60_000 + "}", ""),
        ('{"mensaje": "a", "temperature": 1e999}', ""),
        ('{"mensaje": "a", "temperature": "hot"}', "temperature"),
        ('{"mensaje": "a", "temperature": 7}', "temperature"),
        ('{"mensaje": "a", "k": 1.5}', "k"),
        ('{"mensaje": "a", "max_tokens": 99999999999}', "max_tokens"),
        ('{"mensaje": "a", "visitor": "Ana"}', "visitor"),
        (b"\x00\x01", "binary"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_bad_frame_is_an_error_event(client: Client, frame: str | bytes, says: str) -> None:
    await client.connection.send(frame)
    events = await client.turn()
    error = error_of(events)
    assert (events[0]["sequence"], error["code"]) == (1, "INVALID_ARGUMENT")
    assert says in error["message"]
    assert (await client.ask("hola"))[-1].keys() == {"sequence", "done"}


async def test_the_largest_message_passes(client: Client) -> None:
    padding = "x" * (64 * 1024 - 40)
    assert (await client.ask("hola", pad=padding))[-1].keys() == {"sequence", "done"}


@pytest.mark.parametrize(("frame", "code"), [(b"\xff\xfe", 1007), (b"a" * (64 * 1024 + 1), 1009)], ids=["utf8", "size"])
async def test_a_frame_that_breaks_the_protocol_closes(gate: Gateway, frame: bytes, code: int) -> None:
    async with gate.open() as client:
        await client.say("gated")
        await client.event()
        await client.connection.send(frame, text=True)
        assert await client.close_code() == code
    await until(lambda: gate.chat.running == 0)


async def test_a_frame_far_too_large_is_told_why_it_closes(gate: Gateway) -> None:
    """The goodbye survives what the client has not stopped sending: closing over unread bytes would reset the connection."""
    async with gate.open() as client:
        await client.connection.send("a" * 5_000_000)  # more than the kernel keeps of it
        assert await client.close_code() == 1009
    await until(lambda: gate.chat.running == 0)


# ------------------------------------------------------------------------------------------------------------- the handshake


async def test_the_token_offered_as_a_subprotocol_is_never_echoed(gate: Gateway) -> None:
    async with gate.open(subprotocols=["malla.v1", "malla.bearer.abc"]) as client:
        assert client.connection.subprotocol == "malla.v1"
        assert "abc" not in str(client.connection.response)
    async with gate.open() as client:
        assert client.connection.subprotocol is None


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *((f"s1/{number}", "id_agente") for number in ("0", "x", "99999999999", "4294967297")),
        *((f"{session}/7", "session_id") for session in ("%C3%B1", "-s", "a" * 129)),
    ],
    ids=lambda value: value[:12],
)
async def test_a_path_that_breaks_the_contract_is_refused(gate: Gateway, path: str, field: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with gate.open(f"/api/v1/groq/chat/stream/{path}"):
            pass
    assert refused.value.response.status_code == 400
    body = json.loads(refused.value.response.body or b"")
    assert body["error"]["type"] == body["error"]["code"] == "INVALID_ARGUMENT"
    assert [row["field"] for row in body["error"]["details"]["violations"]] == [field]
    assert "regex" not in body["message"]
    assert body["metadata"]["request_id"] == "r1"


async def test_without_a_tenant_nothing_opens(gate: Gateway) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with gate.open(headers={"x-tenant-id": ""}):
            pass
    assert refused.value.response.status_code == 401
    assert b"malla token create" in (refused.value.response.body or b"")


async def test_more_sockets_than_allowed_are_refused() -> None:
    async with gateway(websocket_connections=1) as gate, gate.open():
        with pytest.raises(InvalidStatus) as refused:
            async with gate.open():
                pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize(("method", "status", "kind"), [("GET", 426, "UPGRADE_REQUIRED"), ("POST", 405, "METHOD_NOT_ALLOWED")])
async def test_a_plain_request_is_told_what_to_do(gate: Gateway, method: str, status: int, kind: str) -> None:
    async with httpx.AsyncClient() as http:
        response = await http.request(method, gate.url().replace("ws:", "http:"))
    assert response.status_code == status
    assert response.json()["error"]["type"] == kind


async def test_a_subject_that_no_metadata_can_hold_is_left_out(gate: Gateway) -> None:
    async with gate.open(headers={"x-user-id": "José"}) as client:
        assert (await client.ask("hola"))[-1].keys() == {"sequence", "done"}
    assert "x-user-id" not in gate.chat.metadata[-1]
