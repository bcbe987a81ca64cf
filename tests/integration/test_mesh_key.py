"""A server takes calls from the mesh only, and says how it is and what it has to anyone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from malla.chat.v1 import chat_pb2, chat_pb2_grpc
from websockets.exceptions import InvalidStatus

from common.server import serving
from common.settings import ServerSettings
from tests.fakes.calls import metadata, refused
from tests.fakes.chat import FakeChat
from tests.fakes.gateway import gateway

KEY = "only-the-proxy-knows"
REQUEST = chat_pb2.ChatRequest(session_id="s", id_agente=1, mensaje="hola")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.key"
    path.write_text(f"{KEY}\n")
    return path


@pytest_asyncio.fixture
async def channel(key_file: Path) -> AsyncIterator[grpc.aio.Channel]:
    settings = ServerSettings(_env_file=None, drain_grace_s=0, mesh_key_file=key_file)
    async with serving(settings, [FakeChat().service]) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.mark.parametrize("key", ["", "wrong", KEY[:-1], f"{KEY}x"])
async def test_a_call_past_the_mesh_is_refused(channel: grpc.aio.Channel, key: str) -> None:
    call = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(REQUEST, metadata=metadata(malla_mesh_key=key))
    failure = await refused(call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "NOT_FROM_MESH")
    assert "mesh listener" in failure.message
    assert KEY not in str(failure)


async def test_a_call_with_the_key_is_served(channel: grpc.aio.Channel) -> None:
    call = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(REQUEST, metadata=metadata(malla_mesh_key=KEY))
    assert [event.sequence async for event in call][-1] == 7


async def test_health_and_reflection_are_open(channel: grpc.aio.Channel) -> None:
    asked = health_pb2.HealthCheckRequest(service="malla.chat.v1.ChatService")
    health = await health_pb2_grpc.HealthStub(channel).Check(asked)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    async for answer in stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])):
        assert "malla.chat.v1.ChatService" in {service.name for service in answer.list_services_response.service}


async def test_a_socket_past_the_mesh_is_refused(key_file: Path) -> None:
    async with gateway(mesh_key_file=key_file) as gate:
        with pytest.raises(InvalidStatus) as denied:
            async with gate.open():
                pass
        assert denied.value.response.status_code == 401
        assert b"NOT_FROM_MESH" in (denied.value.response.body or b"")
        async with gate.open(headers={"x-malla-mesh-key": KEY}) as client:
            assert "done" in (await client.ask("hola"))[-1]


def test_a_key_is_in_no_repr() -> None:
    settings = ServerSettings(_env_file=None, mesh_key=KEY)
    assert settings.mesh_secret() == KEY
    assert KEY not in repr(settings) + settings.model_dump_json()
