"""Calls that search, answer and embed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Unpack

from malla.embedding.v1 import embedding_pb2
from malla.query.v1 import query_pb2 as pb

from common.client._caller import DEADLINE_S, STREAM_DEADLINE_S, Calls, keyed
from common.client._events import answer_events
from common.client._options import QueryOptions, SearchOptions, request_of
from common.models import ChatEvent, EmbeddingKind, EmbeddingResponse, QueryResponse, SearchResponse
from common.protobuf import from_message


class QueryCalls(Calls):
    """Calls that search, answer and embed."""

    async def search(
        self, collection_id: str, query: str, *, timeout_s: float = DEADLINE_S, **options: Unpack[SearchOptions]
    ) -> SearchResponse:
        """Finds the passages that fit a query, best first."""
        request = request_of(pb.SearchRequest, {"collection_id": collection_id, "query": query, **options})
        request.request_id = keyed(request.request_id)
        return from_message(SearchResponse, await self._caller.unary(self._query.Search, request, timeout_s))

    async def query(
        self, collection_id: str, query: str, *, timeout_s: float = DEADLINE_S, **options: Unpack[QueryOptions]
    ) -> QueryResponse:
        """Answers a question from a collection, with citations."""
        request = request_of(pb.QueryRequest, {"collection_id": collection_id, "query": query, **options})
        return from_message(QueryResponse, await self._caller.unary(self._query.Query, request, timeout_s))

    async def stream_query(
        self, collection_id: str, query: str, *, timeout_s: float = STREAM_DEADLINE_S, **options: Unpack[QueryOptions]
    ) -> AsyncGenerator[ChatEvent, None]:
        """Answers as `query` does, event by event. Leaving the iteration stops the answer.

        A failure before the first event is raised; a later one is the event `error` that the stream ends in. A connection that
        breaks is raised whenever it does: an iteration that ends has given `done` or `error`.
        """
        request = request_of(pb.QueryRequest, {"collection_id": collection_id, "query": query, **options})
        async with aclosing(answer_events(self._caller.stream(self._query.StreamQuery, request, timeout_s))) as events:
            async for event in events:
                yield event

    async def embed(
        self,
        texts: Sequence[str],
        *,
        kind: EmbeddingKind = EmbeddingKind.PASSAGE,
        model: str = "",
        request_id: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> EmbeddingResponse:
        """Embeds texts: one L2-normalised vector a text, in the texts' order."""
        row = {"texts": texts, "kind": kind, "model": model, "request_id": keyed(request_id)}
        request = request_of(embedding_pb2.EmbedRequest, row)
        return from_message(EmbeddingResponse, await self._caller.unary(self._embedding.Embed, request, timeout_s))
