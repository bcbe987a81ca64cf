"""A socket lives no longer than its token, and opens nothing that its token does not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from common.identity import publish_revoked
from common.tokens import KeyRing, RevokedToken
from services.gateway.chat.socket import UNAUTHORIZED
from tests.fakes.gateway import gateway
from tests.fakes.waiting import until


def in_a_second() -> str:
    return str(int(time.time()) + 2)


async def test_an_expired_token_closes_the_socket() -> None:
    async with gateway() as gate, gate.open(headers={"x-token-expires": in_a_second()}) as client:
        assert "done" in (await client.ask("hola"))[-1]
        error = (await client.event())["error"]
        assert (error["type"], error["code"]) == ("TOKEN_EXPIRED", "UNAUTHENTICATED")
        assert "malla token create" in error["message"]
        assert await client.close_code() == UNAUTHORIZED


async def test_the_turn_that_began_before_may_end() -> None:
    async with gateway() as gate, gate.open(headers={"x-token-expires": in_a_second()}) as client:
        await client.say("gated")
        await client.event()
        async with gate.open(headers={"x-token-expires": in_a_second()}) as other:
            assert await other.close_code() == UNAUTHORIZED  # so the first one's token has expired, too
        await client.say("one more")
        gate.chat.gate.set()
        assert "done" in (await client.turn())[-1]
        assert (await client.event())["error"]["type"] == "TOKEN_EXPIRED"
        assert await client.close_code() == UNAUTHORIZED
    assert [request.mensaje for request in gate.chat.requests] == ["gated"]


async def test_a_revoked_token_cuts_the_turn(tmp_path: Path) -> None:
    keys = KeyRing.open(tmp_path / "keys")
    publish_revoked(tmp_path, keys)
    async with (
        gateway(revoked_tokens=tmp_path / "revoked.json") as gate,
        gate.open(headers={"x-token-id": "one"}) as ended,
        gate.open(headers={"x-token-id": "two"}) as kept,
    ):
        await ended.say("gated")
        await ended.event()
        keys.book.revoke([RevokedToken(jti="one", expires_at=int(time.time()) + 60)])
        publish_revoked(tmp_path, keys)
        event = await ended.event()
        assert (event["sequence"], event["error"]["type"]) == (2, "TOKEN_REVOKED")
        assert await ended.close_code() == UNAUTHORIZED
        await until(lambda: bool(gate.chat.cancelled))
        assert "done" in (await kept.ask("hola"))[-1]


@pytest.mark.parametrize("scope", ["none", "", "read write admin"])
async def test_without_the_scope_no_socket_opens(scope: str) -> None:
    async with gateway() as gate:
        with pytest.raises(InvalidStatus) as denied:
            async with gate.open(headers={"x-scope": scope}):
                pass
    assert denied.value.response.status_code == 403
    assert b"MISSING_SCOPE" in (denied.value.response.body or b"")


async def test_the_scopes_go_on_to_the_server() -> None:
    async with gateway() as gate, gate.open(headers={"x-scope": "chat read"}) as client:
        assert "done" in (await client.ask("hola"))[-1]
    assert gate.chat.metadata[-1]["x-scope"] == "chat read"
