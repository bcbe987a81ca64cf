"""Cuts a file into the messages of an upload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO

from malla.ingestion.v1 import ingestion_pb2 as pb

from common.models import DocumentUploadMetadata
from common.protobuf import to_message

PIECE_BYTES = 256 * 1024
"""Bytes of a file in one message: what the edge buffers for a stream."""


async def upload_messages(
    source: Path | bytes,
    *,
    collection_id: str,
    filename: str,
    document_id: str,
    metadata: DocumentUploadMetadata | None,
    request_id: str,
) -> AsyncGenerator[pb.UploadDocumentRequest, None]:
    """Yields the messages of one upload: the first says what the file is and holds its first bytes."""
    described = metadata or DocumentUploadMetadata()
    first = pb.UploadDocumentRequest(
        collection_id=collection_id,
        filename=filename,
        document_id=document_id,
        metadata=to_message(described, pb.DocumentUploadMetadata),
        request_id=request_id,
    )
    first.file.content_type = described.content_type
    message = first
    async for piece in _pieces(source):
        message.file.data = piece
        yield message
        message = pb.UploadDocumentRequest()
    if message is first:
        yield first  # an empty file: the server says so


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
