"""Asks a process whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.errors import UnavailableError
from common.models import BaseModel
from common.store import hello

_POLL_S = 0.05
HOST = "127.0.0.1"


class CheckKind(StrEnum):
    """How a process is asked."""

    PROCESS = "process"
    TCP = "tcp"
    GRPC = "grpc"
    HTTP = "http"
    MONGODB = "mongodb"


class Check(BaseModel):
    """One question to one process: does it run, is its port open, does grpc.health.v1 say SERVING, does GET `path` give 200,
    does the database answer a ping."""

    kind: CheckKind
    port: int = 0
    path: str = ""

    async def failure(self, timeout_s: float = 1.0) -> str:
        """Returns what is wrong, or "" if it serves."""
        return await self._said(_ASK[self.kind], timeout_s)

    async def silence(self, timeout_s: float) -> str:
        """Returns why it is taken for hung, or "". Over HTTP any answer is a good one: the proxy says what others lack."""
        return await self._said(_answers if self.kind is CheckKind.HTTP else _ASK[self.kind], timeout_s)

    async def _said(self, ask: Callable[[Check], Awaitable[str]], timeout_s: float) -> str:
        try:
            async with asyncio.timeout(timeout_s):
                return await ask(self)
        except TimeoutError:
            return "does not answer"

    async def wait(self) -> None:
        """Returns once it serves."""
        while await self.failure():  # noqa: ASYNC110  # another process has no event for us
            await asyncio.sleep(_POLL_S)


async def _runs(_check: Check) -> str:
    return ""


async def _open(check: Check) -> str:
    try:
        _, writer = await asyncio.open_connection(HOST, check.port)
    except OSError:
        return "refuses connections"
    writer.close()
    return ""


async def _serving(check: Check) -> str:
    if closed := await _open(check):  # cheaper than a channel while the server loads
        return closed
    async with grpc.aio.insecure_channel(f"{HOST}:{check.port}") as channel:
        try:
            response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        except grpc.aio.AioRpcError as error:
            return f"fails its health check: {error.code().name}"
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return "" if status == "SERVING" else f"says {status}"


async def _ok(check: Check) -> str:
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(f"http://{HOST}:{check.port}{check.path}")
    except httpx.HTTPError:
        return "does not answer HTTP"
    return "" if response.is_success else f"answers {response.status_code} to {check.path}"


async def _answers(check: Check) -> str:
    said = await _ok(check)
    return "" if said.startswith("answers ") else said


async def _pong(check: Check) -> str:
    if closed := await _open(check):
        return closed
    try:
        await hello(f"mongodb://{HOST}:{check.port}", most_s=10.0)  # longer than any caller waits
    except UnavailableError:
        return "takes connections, but does not answer"
    return ""


_ASK = {
    CheckKind.PROCESS: _runs,
    CheckKind.TCP: _open,
    CheckKind.GRPC: _serving,
    CheckKind.HTTP: _ok,
    CheckKind.MONGODB: _pong,
}
