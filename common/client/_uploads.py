"""Cuts a file into the messages of an upload, and sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import grpc
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.client._caller import Caller
from common.errors import MallaError

PIECE_BYTES = 256 * 1024
"""Bytes of a file in one message: what the edge buffers for a stream."""

_ATTEMPTS = 5


class Upload:
    """The messages of one upload.

    Attributes:
        failure: Why the file could not be read. gRPC swallows what its request iterator raises and cancels the call.
    """

    def __init__(self, first: pb.UploadDocumentRequest, source: Path | bytes) -> None:
        self._first = first
        self._source = source
        self.failure: OSError | None = None

    async def messages(self) -> AsyncGenerator[pb.UploadDocumentRequest, None]:
        """Yields the messages: the first says what the file is and holds its first bytes."""
        message = self._first
        try:
            async for piece in _pieces(self._source):
                message.file.data = piece
                yield message
                message = pb.UploadDocumentRequest()
        except OSError as error:
            self.failure = error
            raise
        if message is self._first:
            yield message  # an empty file: the server says so


async def send(caller: Caller, method: Callable[..., Any], upload: Upload, timeout_s: float) -> pb.DocumentUploadResponse:
    """Sends an upload. Raises OSError if the file cannot be read, MallaError if the server refuses it."""
    for attempt in range(1, _ATTEMPTS + 1):
        messages = upload.messages()
        try:
            return cast("pb.DocumentUploadResponse", await caller.unary(method, messages, timeout_s))
        except asyncio.CancelledError:
            if upload.failure is not None:
                raise upload.failure from None
            raise
        except MallaError as error:
            if attempt == _ATTEMPTS or not _lost_its_status(error):
                raise
        finally:
            # A call may end while gRPC's own task still reads a piece: that task finds the call ended, and lets go of the file.
            with suppress(RuntimeError):
                await messages.aclose()
    raise AssertionError("unreachable")


def _lost_its_status(error: MallaError) -> bool:
    # A server may refuse an upload before its end. If grpc.aio is just then writing a message, the failed write takes the place
    # of the server's status. The same bytes again are a no-op, so asking again is safe, and the refusal is then heard.
    return isinstance(error.__cause__, grpc.aio.AioRpcError) and error.__cause__.details() == "Internal error from Core"


async def _pieces(source: Path | bytes) -> AsyncGenerator[bytes, None]:
    if isinstance(source, bytes):
        for start in range(0, len(source), PIECE_BYTES):
            yield source[start : start + PIECE_BYTES]
        return
    file: IO[bytes] = await asyncio.to_thread(source.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
    finally:
        file.close()
