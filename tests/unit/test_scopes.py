"""Scopes: said of every method in the contract, carried by the context, asked for by every server."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pb2
from malla.chat.v1 import chat_pb2, chat_pb2_grpc
from malla.common.v1 import scope_pb2

from common.context import Context, header_of, scopes_of
from common.errors import MissingScopeError
from common.proxy import INTERNAL, PUBLIC
from common.server import check_scope, required_scope, serving
from common.settings import DESCRIPTORS, ServerSettings
from common.tokens import SCOPES
from tests.fakes.calls import metadata, refused
from tests.fakes.chat import FakeChat


def methods() -> Iterator[tuple[str, str]]:
    """Yields service and method of everything in the contract."""
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        for service in file.service:
            if file.package.startswith("malla."):
                importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
                yield from ((f"{file.package}.{service.name}", method.name) for method in service.method)


METHODS = [pytest.param(service, method, id=f"{service}.{method}") for service, method in methods()]


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_every_method_names_its_scope(service: str, method: str) -> None:
    scope = required_scope(f"/{service}/{method}")
    assert scope in ({"mesh"} if ".Internal" in service else set(SCOPES))


def test_every_method_is_of_a_service_that_is_routed() -> None:
    assert {service for service, _ in methods()} == {service.name for service in PUBLIC + INTERNAL}


def test_tokens_and_contract_name_the_same_scopes() -> None:
    named = {name.removeprefix("SCOPE_").lower() for name in dict(scope_pb2.Scope.items())}
    assert named - {"unspecified", "mesh"} == set(SCOPES)


def listed(*words: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("header", "scopes"),
    [
        ("read", {"read"}),
        ("write  read", {"read", "write"}),
        ("none", set()),
        ("", set()),
        (listed("read", "chat"), {"read", "chat"}),
        (listed("read write", 7, "chat"), {"chat"}),
        (listed(), set()),
        ("openid read ñ", {"openid", "read"}),
    ],
)
def test_scopes_of_a_header(header: str, scopes: set[str]) -> None:
    assert scopes_of(header) == scopes
    assert scopes_of(header_of(scopes)) == scopes


def test_a_context_carries_them_on() -> None:
    through_the_edge = Context.from_metadata([("x-scope", "none")])
    assert ("x-scope", "none") in through_the_edge.to_metadata()
    assert ("x-scope", "chat read") in Context(scopes=frozenset({"read", "chat"})).to_metadata()
    assert "x-scope" not in dict(Context().to_metadata())


SEARCH = "/malla.query.v1.QueryService/Search"


@pytest.mark.parametrize(
    ("method", "scopes"),
    [
        (SEARCH, {"read"}),
        (SEARCH, None),
        ("/malla.query.v1.InternalQueryService/InternalSearch", set()),
        ("/malla.none.v1.Service/Method", None),
    ],
)
def test_what_opens_a_method(method: str, scopes: set[str] | None) -> None:
    check_scope(method, Context(scopes=None if scopes is None else frozenset(scopes)))


@pytest.mark.parametrize(
    ("method", "scopes"),
    [
        (SEARCH, set()),
        (SEARCH, {"write", "chat", "admin", "mesh"}),
        ("/malla.query.v1.QueryService/Query", {"read"}),
        ("/malla.none.v1.Service/Method", {"unspecified", "mesh", *SCOPES}),
    ],
)
def test_what_does_not(method: str, scopes: set[str]) -> None:
    with pytest.raises(MissingScopeError):
        check_scope(method, Context(scopes=frozenset(scopes)))


async def test_a_server_names_the_scope_that_is_missing() -> None:
    chat = FakeChat()
    async with (
        serving(ServerSettings(_env_file=None, drain_grace_s=0), [chat.service]) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        request = chat_pb2.ChatRequest(session_id="s", id_agente=1, mensaje="hola")
        failure = await refused(stub.StreamChat(request, metadata=metadata(scope="read write")))
        assert not chat.requests
        async for _ in stub.StreamChat(request, metadata=metadata(scope="chat")):
            pass
        async for _ in stub.StreamChat(request, metadata=metadata()):
            pass
    assert len(chat.requests) == 2
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MISSING_SCOPE")
    assert failure.detail("MissingScope").required == "chat"
    assert list(failure.detail("MissingScope").granted) == ["read", "write"]
    assert "malla token create --tenant <tenant> --scope chat" in failure.message
