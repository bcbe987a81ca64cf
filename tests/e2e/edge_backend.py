"""A stand-in for the servers behind the proxy: answers with what reached it, and fails as asked.

What a call does is said by its text: "fail:not_found", "fail:bare:UNIMPLEMENTED", "slow", anything else is echoed.
`python edge_backend.py PORT` serves one replica, for tests that kill one.
"""

# RPC names are the proto's

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
from google.protobuf import struct_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from malla.chat.v1 import event_pb2
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.errors import InvalidArgumentError, LimitExceededError, MallaError, NotFoundError, OverloadedError
from common.status import to_status

Context = grpc.aio.ServicerContext

FAILURES: dict[str, Callable[[], MallaError]] = {
    "not_found": lambda: NotFoundError("collection", 'a"b\\cañón', "List them with GET /api/v1/collections."),
    "invalid": lambda: InvalidArgumentError([("texts[0]", "must not be empty"), ("kind", 'must be "QUERY"')]),
    "limit": lambda: LimitExceededError("text_characters", allowed=5, actual=6, hint="Send less."),
    "overloaded": lambda: OverloadedError("embedding", retry_after_s=1.5),
}

MANY_EVENTS = 3


def metadata_of(context: Context) -> dict[str, str]:
    """Returns the call metadata that the handler sees, as text."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


async def act(text: str, context: Context) -> None:
    """Fails, waits or does nothing, as `text` says."""
    if text == "slow":
        await asyncio.sleep(60)
    if not text.startswith("fail:"):
        return
    kind = text.removeprefix("fail:")
    if kind.startswith("bare:"):
        _, code, message = kind.split(":", 2)
        await context.abort(grpc.StatusCode[code], message)
    request_id = metadata_of(context).get("x-request-id", "")
    await context.abort_with_status(rpc_status.to_status(to_status(FAILURES[kind](), {"request_id": request_id})))


def echo(context: Context, **facts: str) -> dict[str, struct_pb2.Value]:
    """Returns the call metadata and `facts` as a response's `metadata`."""
    return {key: struct_pb2.Value(string_value=value) for key, value in {**metadata_of(context), **facts}.items()}


class Embedding(embedding_pb2_grpc.EmbeddingServiceServicer, embedding_pb2_grpc.InternalEmbeddingServiceServicer):
    async def Embed(self, request: embedding_pb2.EmbedRequest, context: Context) -> embedding_pb2.EmbeddingResponse:
        await act(request.texts[0] if request.texts else "", context)
        return embedding_pb2.EmbeddingResponse(
            success=True, message=f"{len(request.texts)} texts", metadata=echo(context, kind=str(request.kind))
        )

    async def InternalEmbed(
        self, request: embedding_pb2.InternalEmbedRequest, context: Context
    ) -> embedding_pb2.InternalEmbeddingResponse:
        await act(request.texts[0] if request.texts else "", context)
        return embedding_pb2.InternalEmbeddingResponse(success=True, message="internal", metadata=echo(context))


class Ingestion(ingestion_pb2_grpc.IngestionServiceServicer):
    async def ListCollections(
        self, request: ingestion_pb2.ListCollectionsRequest, context: Context
    ) -> ingestion_pb2.CollectionsListResponse:
        return ingestion_pb2.CollectionsListResponse(success=True, metadata=echo(context, page_size=str(request.page_size)))

    async def UploadDocument(
        self, request_iterator: AsyncIterator[ingestion_pb2.UploadDocumentRequest], context: Context
    ) -> ingestion_pb2.DocumentUploadResponse:
        first: ingestion_pb2.UploadDocumentRequest | None = None
        size = 0
        async for piece in request_iterator:
            first = first or piece
            size += len(piece.file.data)
        assert first is not None
        document = ingestion_pb2.Document(document_id=first.filename, bytes=size)
        return ingestion_pb2.DocumentUploadResponse(
            success=True, document=document, metadata=echo(context, content_type=first.file.content_type)
        )

    async def WatchJob(
        self, request: ingestion_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[ingestion_pb2.JobResponse]:
        if request.job_id == "missing":
            await act("fail:not_found", context)
        for _ in range(MANY_EVENTS):
            yield ingestion_pb2.JobResponse(success=True, job=ingestion_pb2.Job(job_id=request.job_id))


class Query(query_pb2_grpc.QueryServiceServicer):
    """`gate` holds a stream back after its first event until it is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def Search(self, request: query_pb2.SearchRequest, context: Context) -> query_pb2.SearchResponse:
        await act(request.query, context)
        return query_pb2.SearchResponse(success=True, metadata=echo(context))

    async def StreamQuery(self, request: query_pb2.QueryRequest, context: Context) -> AsyncIterator[event_pb2.ChatEvent]:
        await act(request.query, context)
        yield event_pb2.ChatEvent(sequence=1, delta=event_pb2.Delta(text="uno "))
        try:
            if request.query == "gated":
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        yield event_pb2.ChatEvent(sequence=2, delta=event_pb2.Delta(text="dos\n"))
        yield event_pb2.ChatEvent(sequence=3, done=event_pb2.Done(answer="uno dos\n"))


@asynccontextmanager
async def replica(port: int, query: Query | None = None) -> AsyncIterator[grpc.aio.Server]:
    """Serves every service on `port`, with its health."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    embedding = Embedding()
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(embedding, server)
    embedding_pb2_grpc.add_InternalEmbeddingServiceServicer_to_server(embedding, server)
    ingestion_pb2_grpc.add_IngestionServiceServicer_to_server(Ingestion(), server)
    query_pb2_grpc.add_QueryServiceServicer_to_server(query or Query(), server)
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(None)


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers any HTTP/1.1 request as the gateway does: a page with its own policy, or an error in the one shape."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        status, kind, body = "200 OK", "text/html", f"<p>{path}</p>"
        if path.startswith("/static/missing"):
            status, kind, body = "404 Not Found", "application/json", '{"success":false,"message":"from the gateway"}'
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-security-policy: default-src 'self'\r\n"
            f"server: secret/1.0\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
    except asyncio.IncompleteReadError:  # a health check connects and leaves
        pass
    finally:
        writer.close()
        await writer.wait_closed()


async def main(port: int) -> None:
    """Serves until killed."""
    async with replica(port) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
