"""Asks a process whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

from common.base_model import BaseModel
from services.cli.launcher import probes
from services.cli.launcher.probes import HOST

__all__ = ["HOST", "Check", "CheckKind"]

_POLL_S = 0.05

Ask = Callable[[int, str], Awaitable[str]]
"""Given a port and a path, returns what is wrong, or ""."""


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
        return await self._said(probes.answers if self.kind is CheckKind.HTTP else _ASK[self.kind], timeout_s)

    async def _said(self, ask: Ask, timeout_s: float) -> str:
        try:
            async with asyncio.timeout(timeout_s):
                return await ask(self.port, self.path)
        except TimeoutError:
            return "does not answer"

    async def wait(self) -> None:
        """Returns once it serves."""
        while await self.failure():  # noqa: ASYNC110  # another process has no event for us
            await asyncio.sleep(_POLL_S)


_ASK: dict[CheckKind, Ask] = {
    CheckKind.PROCESS: probes.runs,
    CheckKind.TCP: probes.is_open,
    CheckKind.GRPC: probes.serves_grpc,
    CheckKind.HTTP: probes.succeeds,
    CheckKind.MONGODB: probes.pongs,
}
