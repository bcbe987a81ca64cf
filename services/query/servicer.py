"""Converts between the contract and the use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from google.protobuf import json_format
from malla.chat.v1 import event_pb2
from malla.query.v1 import query_pb2 as pb

from common.context import Context, with_context
from common.models import Done, SearchMode
from common.protobuf import to_message
from common.tracking import OPERATION_INTERNAL, OPERATION_QUERY
from services.query.convert import to_citations, to_event, to_usage
from services.query.usecases.answer import QuerySpec
from services.query.usecases.answer_once import AnswerOnce
from services.query.usecases.counted_search import CountedSearch
from services.query.usecases.events import numbered
from services.query.usecases.search import SearchSpec


class QueryServicer:
    """malla.query.v1.QueryService."""

    def __init__(self, search: CountedSearch, answer: AnswerOnce, *, heartbeat_s: float) -> None:
        self._search = search
        self._answer = answer
        self._heartbeat_s = heartbeat_s

    @with_context(tenant=True, collection=True)
    async def Search(self, request: pb.SearchRequest, ctx: Context) -> pb.SearchResponse:
        found = await self._search(_search_spec(request, ctx), OPERATION_QUERY, ctx)
        return pb.SearchResponse(
            message=_found(found.results),
            results=[to_message(result, pb.SearchResult) for result in found.results],
            seq=found.seq,
            usage=to_usage(found.usage),
        )

    @with_context(tenant=True, collection=True)
    async def Query(self, request: pb.QueryRequest, ctx: Context) -> pb.QueryResponse:
        done = await _answered(self._answer, request, OPERATION_QUERY, ctx)
        return pb.QueryResponse(
            answer=done.answer, citations=to_citations(done.citations), usage=to_usage(done.usage), model=done.model
        )

    @with_context(tenant=True, collection=True)
    async def StreamQuery(self, request: pb.QueryRequest, ctx: Context) -> AsyncIterator[event_pb2.ChatEvent]:
        events = self._answer.stream(_query_spec(request, OPERATION_QUERY, ctx), ctx)
        async with aclosing(numbered(events, ctx, heartbeat_s=self._heartbeat_s)) as stream:
            async for item in stream:
                yield to_event(item)


class InternalQueryServicer:
    """malla.query.v1.InternalQueryService."""

    def __init__(self, search: CountedSearch, answer: AnswerOnce) -> None:
        self._search = search
        self._answer = answer

    @with_context(tenant=True, collection=True)
    async def InternalSearch(self, request: pb.SearchRequest, ctx: Context) -> pb.InternalSearchResponse:
        found = await self._search(_search_spec(request, ctx), OPERATION_INTERNAL, ctx)
        results = [to_message(result, pb.SearchResult) for result in found.results]
        return pb.InternalSearchResponse(
            message=_found(results),
            data=pb.InternalSearchData(results=results, seq=found.seq, usage=to_usage(found.usage)),
        )

    @with_context(tenant=True, collection=True)
    async def InternalQuery(self, request: pb.QueryRequest, ctx: Context) -> pb.InternalQueryResponse:
        done = await _answered(self._answer, request, OPERATION_INTERNAL, ctx)
        return pb.InternalQueryResponse(
            data=pb.InternalQueryData(
                answer=done.answer, citations=to_citations(done.citations), usage=to_usage(done.usage), model=done.model
            )
        )


async def _answered(answer: AnswerOnce, request: pb.QueryRequest, operation: str, ctx: Context) -> Done:
    done = await answer.whole(_query_spec(request, operation, ctx), ctx)
    for name, value in done.metadata.items():
        ctx.add_metric(name, value)
    return done


def _found(results: Sequence[object]) -> str:
    return f"{len(results)} {'passage' if len(results) == 1 else 'passages'} found"


def _search_spec(request: pb.SearchRequest | pb.QueryRequest, ctx: Context) -> SearchSpec:
    name = pb.SearchRequest.Mode.Name(request.mode)
    return SearchSpec(
        collection_id=ctx.collection_id,
        query=request.query,
        k=request.k,
        mode=SearchMode(name) if request.mode else SearchMode.HYBRID,
        filter=json_format.MessageToDict(request.filter),
        min_seq=request.min_seq,
        explain=isinstance(request, pb.SearchRequest) and request.explain,
        context=request.context if isinstance(request, pb.SearchRequest) else 0,
        request_id=request.request_id,
    )


def _query_spec(request: pb.QueryRequest, operation: str, ctx: Context) -> QuerySpec:
    return QuerySpec(
        search=_search_spec(request, ctx),
        model=request.model,
        temperature=request.temperature if request.HasField("temperature") else None,
        max_tokens=request.max_tokens,
        operation=operation,
        request_id=request.request_id,
    )
