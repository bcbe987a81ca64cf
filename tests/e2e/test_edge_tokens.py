"""Tokens through the real Envoy and a real server: which open what, and what happens to them while the proxy runs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from malla.chat.v1 import chat_pb2, chat_pb2_grpc
from websockets.asyncio.client import connect

from common.context import Tier
from common.identity import publish_keys, publish_revoked, write_identity
from common.issuer import TokenIssuer
from common.proxy import ProxyConfig
from common.server import serving
from common.settings import ServerSettings
from common.tokens import KeyRing
from services.gateway.chat.socket import UNAUTHORIZED
from tests.e2e.edge import WAIT_S, answers, assert_shape, free_ports, laptop, running
from tests.fakes.calls import failure_of
from tests.fakes.chat import FakeChat
from tests.fakes.gateway import Client, listening

STREAM = "/api/v1/groq/chat/stream"
BODY = {"id_agente": 1, "mensaje": "hola", "session_id": "s"}
RSA = generate_private_key(public_exponent=65537, key_size=2048)
OTHER = {"iss": "https://id.example/", "aud": ["malla-api", "other"], "sub": "ana", "org": {"name": "acme"}, "plan": "pro"}


def jwks_of(key: RSAPrivateKey) -> str:
    return json.dumps({"keys": [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "rsa", "alg": "RS256"}]})


def issuer(jwks: str) -> TokenIssuer:
    names = {"tenant_claim": "org.name", "tier_claim": "plan", "scope_claim": "scp"}
    return TokenIssuer(issuer=OTHER["iss"], audience="malla-api", jwks=jwks, **names)


def foreign(*, key: Any = RSA, algorithm: str = "RS256", **changes: Any) -> str:
    """Returns a token of the other issuer."""
    claims = {**OTHER, "exp": int(time.time()) + 600, "scp": ["chat", "read"], **changes}
    given = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(given, key, algorithm=algorithm, headers={"kid": "rsa"})


@dataclass
class Line:
    """A proxy, a gateway and a chat server that takes calls from the mesh only."""

    proxy: ProxyConfig
    folder: Path
    server: str
    chat: FakeChat = field(default_factory=FakeChat)

    @property
    def keys(self) -> KeyRing:
        return KeyRing.open(self.folder)

    def own(self, **changes: Any) -> str:
        return self.keys.issue(**{"tenant": "acme", "tier": Tier.PRO, **changes})

    async def post(self, token: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://{self.proxy.edge}", timeout=WAIT_S) as http:
            return await http.post(STREAM, json=BODY, headers={"authorization": f"Bearer {token}", **headers})

    async def call(self, token: str) -> None:
        """Calls by gRPC. Raises AioRpcError."""
        async with grpc.aio.insecure_channel(str(self.proxy.edge)) as channel:
            request = chat_pb2.ChatRequest(**BODY)
            metadata = (("authorization", f"Bearer {token}"),)
            async for _ in chat_pb2_grpc.ChatServiceStub(channel).StreamChat(request, metadata=metadata, timeout=WAIT_S):
                pass

    async def until(self, token: str, status: int) -> httpx.Response:
        """Calls until the answer has the status; the proxy follows its files without a word."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        url = f"http://{self.proxy.edge}{STREAM}"
        return await answers(
            url, lambda one: one.status_code == status, method="POST", headers=headers, content=json.dumps(BODY)
        )

    @asynccontextmanager
    async def socket(self, token: str) -> AsyncIterator[Client]:
        url = f"ws://{self.proxy.edge}{STREAM}/s/1"
        async with connect(url, additional_headers={"authorization": f"Bearer {token}"}, proxy=None) as connection:
            yield Client(connection)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    folder = tmp_path_factory.mktemp("tokens")
    jwks = folder / "other.json"
    jwks.write_text(jwks_of(RSA))
    async with line_with(folder, issuer(str(jwks))) as one:
        yield one


@asynccontextmanager
async def line_with(folder: Path, other: TokenIssuer) -> AsyncIterator[Line]:
    server_port, page_port = free_ports(2)
    ports = {name: [server_port] for name in ("embedding", "ingestion", "query")} | {"gateway": [page_port]}
    proxy = laptop(folder, ports).model_copy(update={"other_issuer": other})
    keys = KeyRing.open(folder / "keys")
    write_identity(proxy, keys)  # so that there is a mesh key when the servers start
    settings = ServerSettings(_env_file=None, port=server_port, drain_grace_s=0, mesh_key_file=proxy.mesh_key_path)
    chat = FakeChat()
    behind = {"port": page_port, "mesh_address": str(proxy.mesh)}
    try:
        async with (
            serving(settings, [chat.service]) as address,
            listening(**behind, mesh_key_file=proxy.mesh_key_path, revoked_tokens=proxy.revoked_path),
            running(proxy, lambda one: one.status_code == 200, keys),
        ):
            yield Line(proxy, folder / "keys", address, chat)
    finally:
        chat.gate.set()


# ----------------------------------------------------------------------------------------------------------- what opens nothing


def forged(line: Line, algorithm: str, secret: bytes) -> str:
    """Returns one of our tokens under a header that says another algorithm, signed with `secret` by HMAC."""
    header, claims, _ = line.own().split(".")
    head = json.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": algorithm}
    signed = f"{base64.urlsafe_b64encode(json.dumps(head).encode()).decode().rstrip('=')}.{claims}"
    mac = hmac.digest(secret, signed.encode(), hashlib.sha256) if secret else b""
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def signed(line: Line, key: Ed25519PrivateKey | None = None, **changes: Any) -> str:
    """Returns a token with our newest key and any claims."""
    claims = {"iss": "malla", "aud": "malla", "exp": int(time.time()) + 600, "tenant": "acme", "tier": "pro", "scope": "chat"}
    newest = line.keys.keys[-1]
    given = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(given, key or newest.private, algorithm="EdDSA", headers={"kid": newest.kid})


def public_half(line: Line) -> bytes:
    return line.keys.keys[-1].private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def rsa_public() -> bytes:
    return RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def in_the_name_of_the_other(line: Line) -> str:
    """HS256 with the other issuer's public key as the secret, the classic of its kind."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').decode().rstrip("=")
    signed = f"{head}.{foreign().split('.')[1]}"
    return (
        f"{signed}.{base64.urlsafe_b64encode(hmac.digest(rsa_public(), signed.encode(), hashlib.sha256)).decode().rstrip('=')}"
    )


UNAUTHENTICATED = (401, "UNAUTHENTICATED", "UNAUTHENTICATED")
NO_SCOPE = (403, "MISSING_SCOPE", "PERMISSION_DENIED")
NO_TENANT = (403, "PERMISSION_DENIED", "PERMISSION_DENIED")
REFUSED = {
    "nobody's": (lambda _: "abc", UNAUTHENTICATED),
    "another issuer": (lambda line: signed(line, iss="https://elsewhere.example"), UNAUTHENTICATED),
    "another audience": (lambda line: signed(line, aud="elsewhere"), UNAUTHENTICATED),
    "expired": (lambda line: signed(line, exp=int(time.time()) - 3600), UNAUTHENTICATED),
    "never ends": (lambda line: signed(line, exp=None), UNAUTHENTICATED),
    "another key": (lambda line: signed(line, Ed25519PrivateKey.generate()), UNAUTHENTICATED),
    "alg none": (lambda line: forged(line, "none", b""), UNAUTHENTICATED),
    "HS256 with the public key": (lambda line: forged(line, "HS256", public_half(line)), UNAUTHENTICATED),
    "HS256 with the other's public key": (in_the_name_of_the_other, UNAUTHENTICATED),
    "the other's name, our key": (lambda line: signed(line, iss=OTHER["iss"], aud="malla-api"), UNAUTHENTICATED),
    "the other's key, our name": (lambda _: foreign(iss="malla", aud="malla", tenant="acme"), UNAUTHENTICATED),
    "the other's, another audience": (lambda _: foreign(aud="elsewhere"), UNAUTHENTICATED),
    "without a scope": (lambda line: signed(line, scope=None), NO_SCOPE),
    "an empty scope": (lambda line: signed(line, scope=""), NO_SCOPE),
    "another scope": (lambda line: line.own(scopes=["read", "write", "admin"]), NO_SCOPE),
    "the scope of the mesh": (lambda line: signed(line, scope="mesh unspecified"), NO_SCOPE),
    "a scope that no header holds": (lambda line: signed(line, scope="ñ"), NO_TENANT),
    "the other's, without a scope": (lambda _: foreign(scp=[]), NO_SCOPE),
    "the other's, no tenant": (lambda _: foreign(org={}), NO_TENANT),
    "the other's, our names": (lambda _: foreign(org={}, tenant="acme"), NO_TENANT),
    "no tenant": (lambda line: line.keys.probe(), NO_TENANT),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_token_that_opens_nothing(line: Line, name: str) -> None:
    make, (status, kind, code) = REFUSED[name]
    token = make(line)
    before = len(line.chat.requests)
    response = await line.post(token)
    assert (response.status_code, assert_shape(response)["error"]["type"]) == (status, kind), response.text
    assert assert_shape(response)["error"]["code"] == code
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await line.call(token)
    assert failed.value.code() is grpc.StatusCode[code]
    assert (failed.value.details() or "") == assert_shape(response)["message"]
    if kind == "MISSING_SCOPE":
        failure = failure_of(failed.value)
        assert (failure.reason, failure.body.error.type) == (kind, kind)
        assert "--scope chat" in failure.message
        assert response.json()["error"]["details"]["required"] == "chat"
    assert len(line.chat.requests) == before


async def test_what_is_said_beside_a_token_counts_for_nothing(line: Line) -> None:
    said = {"x-scope": "admin chat", "x-tenant-id": "globex", "x-tier": "enterprise", "x-user-id": "root", "x-token-id": "1"}
    refused = await line.post(line.own(scopes=["read"]), **said)
    assert (refused.status_code, assert_shape(refused)["error"]["type"]) == (403, "MISSING_SCOPE")
    assert refused.json()["error"]["details"]["granted"] == ["read"]
    assert (await line.post(line.own(scopes=["chat"]), **said, **{"x-malla-mesh-key": "mine"})).status_code == 200
    seen = line.chat.metadata[-1]
    assert (seen["x-tenant-id"], seen["x-tier"], seen["x-user-id"], seen["x-scope"]) == ("acme", "pro", "acme", "chat")
    assert seen["x-malla-mesh-key"] == line.proxy.mesh_key_path.read_text()


# -------------------------------------------------------------------------------------------------------------- another issuer


async def test_another_issuer_by_a_file_of_its_keys(line: Line) -> None:
    assert (await line.post(foreign())).status_code == 200
    seen = line.chat.metadata[-1]
    assert (seen["x-tenant-id"], seen["x-tier"], seen["x-user-id"]) == ("acme", "pro", "ana")
    await line.call(foreign(scp="openid chat"))
    assert (await line.post(foreign(plan=None))).status_code == 200
    assert line.chat.metadata[-1]["x-tier"] == "free"
    assert_shape(await line.post(foreign(plan="gold")))


async def test_another_issuer_by_the_address_of_its_keys(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = jwks_of(RSA)
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    (port,) = free_ports(1)
    async with line_with(tmp_path, issuer(f"http://127.0.0.1:{port}/jwks.json")) as line:
        assert (await line.post(line.own())).status_code == 200  # our own, while the issuer is away
        assert (await line.post(foreign())).status_code == 401
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            await line.until(foreign(), 200)


# -------------------------------------------------------------------------------------------------------- while the proxy runs


async def test_a_revoked_token_is_refused_and_nothing_else_is(line: Line) -> None:
    token, other = line.own(), line.own()
    line.chat.gate.clear()
    async with line.socket(other) as kept, line.socket(token) as ended:
        await kept.say("gated")
        await kept.event()
        assert "done" in (await ended.ask("hola"))[-1]
        mine = [
            one for one in line.keys.book.issued() if one.jti == jwt.decode(token, options={"verify_signature": False})["jti"]
        ]
        line.keys.book.revoke(mine)
        publish_revoked(line.folder.parent, line.keys)
        response = await line.until(token, 401)
        error = assert_shape(response)["error"]
        assert (error["type"], error["code"]) == ("TOKEN_REVOKED", "UNAUTHENTICATED")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await line.call(token)
        assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "revoked" in (failed.value.details() or "")
        assert (await ended.event())["error"]["type"] == "TOKEN_REVOKED"
        assert await ended.close_code() == UNAUTHORIZED
        line.chat.gate.set()  # what was open goes on
        assert "done" in (await kept.turn())[-1]
    assert (await line.post(other)).status_code == 200


async def test_keys_rotate_with_two_live(line: Line) -> None:
    first = line.own()
    publish_keys(line.folder.parent, KeyRing.rotate(line.folder))
    second = line.own()
    assert jwt.get_unverified_header(first)["kid"] != jwt.get_unverified_header(second)["kid"]
    await line.until(second, 200)
    assert (await line.post(first)).status_code == 200
    assert (await line.post(foreign())).status_code == 200
    publish_keys(line.folder.parent, KeyRing.drop_old(line.folder))
    assert_shape(await line.until(first, 401))
    assert (await line.post(second)).status_code == 200
    assert (await line.post(foreign())).status_code == 200


async def test_a_socket_ends_with_its_token(line: Line) -> None:
    async with line.socket(line.own(ttl=timedelta(seconds=2))) as client:
        assert "done" in (await client.ask("hola"))[-1]
        assert (await client.event())["error"]["type"] == "TOKEN_EXPIRED"
        assert await client.close_code() == UNAUTHORIZED


async def test_what_was_revoked_stays_so_when_the_proxy_starts_again(line: Line) -> None:
    token = line.own()
    line.keys.book.revoke([line.keys.book.issued()[-1]])
    write_identity(line.proxy, line.keys)  # as every start does
    assert_shape(await line.until(token, 401))


# ---------------------------------------------------------------------------------------------------------------- past the mesh


async def test_a_server_called_past_the_mesh(line: Line) -> None:
    async with grpc.aio.insecure_channel(line.server) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            async for _ in stub.StreamChat(chat_pb2.ChatRequest(**BODY), metadata=(("x-tenant-id", "acme"),)):
                pass
    failure = failure_of(failed.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "NOT_FROM_MESH")


async def test_a_service_inside_the_mesh_needs_no_token(line: Line) -> None:
    async with grpc.aio.insecure_channel(str(line.proxy.mesh)) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        call = stub.StreamChat(chat_pb2.ChatRequest(**BODY), metadata=(("x-tenant-id", "acme"),), timeout=WAIT_S)
        assert [event.sequence async for event in call]


async def test_no_key_is_where_others_read(line: Line) -> None:
    key = line.proxy.mesh_key_path.read_text()
    assert len(key) >= 40
    assert line.proxy.mesh_key_path.stat().st_mode & 0o077 == 0
    async with httpx.AsyncClient() as http:
        dump = (await http.get(f"http://{line.proxy.admin}/config_dump?include_eds")).text
    config = line.proxy.access_log_path.with_name("envoy.yaml").read_text()
    for text in (dump, config, line.proxy.access_log_path.read_text()):
        assert key not in text
