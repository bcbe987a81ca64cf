"""gRPC, gRPC-Web and grpcurl through the edge."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import status_pb2
from malla.common.v1 import envelope_pb2
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.settings import DESCRIPTORS
from tests.e2e.edge import Edge, bearer, embed, token


async def test_grpc_with_a_token(channel: grpc.aio.Channel) -> None:
    answer = await embed(channel, "hola")
    assert answer.message == "1 texts"
    assert answer.metadata["x-tenant-id"].string_value == "acme"


async def test_grpc_errors_keep_their_details(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "fail:not_found")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    trailers = dict(failed.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    body = envelope_pb2.ErrorResponse()
    assert status.details[-1].Unpack(body)
    assert body.error.type == "COLLECTION_NOT_FOUND"


@pytest.mark.parametrize(
    ("claims", "code", "says"),
    [
        ({"exp": 1}, grpc.StatusCode.UNAUTHENTICATED, "malla token create"),
        ({"aud": "other"}, grpc.StatusCode.UNAUTHENTICATED, "malla token create"),
        ({"tenant": None}, grpc.StatusCode.PERMISSION_DENIED, "malla token create --tenant"),
    ],
)
async def test_grpc_callers_are_refused_in_grpc(
    channel: grpc.aio.Channel, claims: dict[str, Any], code: grpc.StatusCode, says: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "a", **claims)
    assert failed.value.code() is code
    assert says in (failed.value.details() or "")


async def test_grpc_deadlines_are_honoured(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "slow", timeout=0.2)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_grpc_internal_services_are_not_at_the_edge(channel: grpc.aio.Channel) -> None:
    stub = embedding_pb2_grpc.InternalEmbeddingServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.InternalEmbed(embedding_pb2.InternalEmbedRequest(), metadata=tuple(bearer().items()))
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_grpc_streams_both_ways(channel: grpc.aio.Channel) -> None:
    metadata = tuple(bearer().items())
    events = query_pb2_grpc.QueryServiceStub(channel).StreamQuery(query_pb2.QueryRequest(query="a"), metadata=metadata)
    assert [event.sequence async for event in events] == [1, 2, 3]

    async def pieces() -> AsyncIterator[ingestion_pb2.UploadDocumentRequest]:
        first = ingestion_pb2.UploadDocumentRequest(collection_id="c", filename="a.txt")
        first.file.content_type = "text/plain"
        yield first
        for _ in range(8):
            piece = ingestion_pb2.UploadDocumentRequest()
            piece.file.data = b"a" * 64_000
            yield piece

    answer = await ingestion_pb2_grpc.IngestionServiceStub(channel).UploadDocument(pieces(), metadata=metadata)
    assert answer.document.bytes == 512_000  # more than a JSON body may have


def web_frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        frames.append((flags, body[5 : 5 + size]))
        body = body[5 + size :]
    return frames


async def grpc_web(http: httpx.AsyncClient, text: str, **headers: str) -> httpx.Response:
    message = embedding_pb2.EmbedRequest(texts=[text]).SerializeToString()
    framed = struct.pack(">BI", 0, len(message)) + message
    kind = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    return await http.post("/malla.embedding.v1.EmbeddingService/Embed", content=framed, headers=kind | headers)


async def test_grpc_web(http: httpx.AsyncClient) -> None:
    response = await grpc_web(http, "hola")
    (_, message), (flags, trailers) = web_frames(response.content)
    assert embedding_pb2.EmbeddingResponse.FromString(message).message == "1 texts"
    assert flags == 0x80
    assert b"grpc-status:0" in trailers


async def test_grpc_web_errors_are_grpc_errors(http: httpx.AsyncClient) -> None:
    failed = await grpc_web(http, "fail:not_found")
    assert failed.status_code == 200
    assert failed.headers["grpc-status"] == "5"
    details = failed.headers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    assert status.details[-1].Is(envelope_pb2.ErrorResponse.DESCRIPTOR)
    refused = await grpc_web(http, "hola", **bearer(exp=1))
    assert refused.headers["grpc-status"] == "16"
    assert "malla token create" in refused.headers["grpc-message"]


async def test_grpcurl_with_the_descriptor_set(edge: Edge) -> None:
    grpcurl = Path(sys.executable).with_name("grpcurl")
    flags = ["-plaintext", "-protoset", str(DESCRIPTORS), "-H", f"authorization: Bearer {token()}", "-d", '{"texts": ["a"]}']
    process = await asyncio.create_subprocess_exec(
        grpcurl,
        *flags,
        str(edge.proxy.edge),
        "malla.embedding.v1.EmbeddingService/Embed",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert json.loads(out)["message"] == "1 texts"
