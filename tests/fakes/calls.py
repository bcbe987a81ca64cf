"""Calling a server under test, and reading how it refused."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from malla.common.v1 import envelope_pb2, errors_pb2

_DETAILS = (
    *(getattr(error_details_pb2, name) for name in ("ErrorInfo", "BadRequest", "RetryInfo")),
    *(getattr(errors_pb2, name) for name in errors_pb2.DESCRIPTOR.message_types_by_name),
    envelope_pb2.ErrorResponse,
)

TENANT = "acme"


@dataclass(frozen=True)
class Failure:
    """A refused call: its status and the unpacked details, in order."""

    code: grpc.StatusCode
    message: str
    details: Sequence[Any]

    @property
    def body(self) -> Any:
        """The ErrorResponse, the last detail."""
        return self.details[-1]

    @property
    def reason(self) -> str:
        return str(self.details[0].reason)

    def detail(self, name: str) -> Any:
        """Returns the detail of a message type."""
        return next(detail for detail in self.details if type(detail).__name__ == name)

    @property
    def names(self) -> list[str]:
        return [type(detail).__name__ for detail in self.details]


def metadata(tenant: str = TENANT, **more: str) -> tuple[tuple[str, str], ...]:
    """Returns the metadata the edge would send: `session_id="s"` becomes x-session-id."""
    pairs = {"x-tenant-id": tenant, **{"x-" + name.replace("_", "-"): value for name, value in more.items()}}
    return tuple((key, value) for key, value in pairs.items() if value)


async def refused(call: Awaitable[Any] | AsyncIterable[Any]) -> Failure:
    """Awaits a call, or reads a stream to its end, and returns how it failed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if isinstance(call, Awaitable):
            await call
        else:
            async for _ in call:
                pass
    return failure_of(caught.value)


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Returns what a failed call says."""
    packed = dict(error.trailing_metadata() or ()).get(rpc_status.GRPC_DETAILS_METADATA_KEY, b"")
    status = status_pb2.Status.FromString(packed)
    return Failure(error.code(), error.details() or "", [_unpacked(detail) for detail in status.details])


def _unpacked(detail: Any) -> Message:
    for kind in _DETAILS:
        if detail.Is(kind.DESCRIPTOR):
            message: Message = kind()
            detail.Unpack(message)
            return message
    raise AssertionError(f"unknown detail {detail.type_url}")
