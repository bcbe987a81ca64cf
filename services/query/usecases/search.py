"""Finding passages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from common.context import Context
from common.errors import InvalidArgumentError, NotFoundError
from common.models import EmbeddingKind, SearchMode, SearchResult, TokenUsage
from common.tasks import stop
from services.query.domain.collection_index import CollectionIndex, Search
from services.query.domain.filters import compile_filter
from services.query.ports import Embedder, Record, Vectors
from services.query.usecases.follow import FollowCollections

DEFAULT_K = 5


@dataclass(frozen=True)
class SearchSpec:
    """What to find."""

    collection_id: str
    query: str
    k: int = DEFAULT_K
    mode: SearchMode = SearchMode.HYBRID
    filter: Mapping[str, Any] = field(default_factory=dict)
    min_seq: int = 0


@dataclass(frozen=True)
class Found:
    """The passages found, best first.

    Attributes:
        seq: Number of the last change the search saw; 0 for a search of several collections.
        language: Main language of what was searched.
        nearest: Cosine of the nearest passage to the query; 0 without any, or in lexical mode.
    """

    results: list[SearchResult]
    seq: int
    usage: TokenUsage
    language: str
    nearest: float = 0.0


class SearchPassages:
    """Finds the passages of a collection that fit a query."""

    def __init__(self, record: Record, embedder: Embedder, follow: FollowCollections, *, candidates: int) -> None:
        self._record = record
        self._embedder = embedder
        self._follow = follow
        self._candidates = candidates

    async def __call__(self, spec: SearchSpec, ctx: Context) -> Found:
        """Returns the passages.

        Raises:
            NotFoundError: The tenant has no such collection.
            InvalidArgumentError: The query is blank or the filter malformed.
            DeadlineError: `min_seq` was not reached in time.
            MallaError: The vector of the query cannot be computed.
        """
        if not spec.query.strip():
            raise InvalidArgumentError([("query", "must hold more than white space")])
        predicate = compile_filter(spec.filter) if spec.filter else None
        collection = await self._record.collection(ctx.tenant_id, spec.collection_id)
        if collection is None:
            self._follow.forget(ctx.tenant_id, spec.collection_id)
            raise NotFoundError(
                "collection", spec.collection_id, "Create it with POST /api/v1/collections; GET /api/v1/collections lists them."
            )
        async with _beside(self._follow.at_least(collection, spec.min_seq, ctx)) as followed:
            vectors = await self._vector_of(spec, ctx)
            index = await followed
        search = Search(
            text=spec.query,
            mode=spec.mode,
            k=spec.k or DEFAULT_K,
            candidates=self._candidates,
            row=None if vectors is None else vectors.rows[0],
            model="" if vectors is None else vectors.model,
            predicate=predicate,
        )
        hits = await asyncio.to_thread(index.search, search)
        usage = TokenUsage() if vectors is None else vectors.usage
        return Found(hits.results, index.seq, usage, collection.language, hits.nearest)

    async def across(self, collection_ids: Sequence[str], spec: SearchSpec, language: str, ctx: Context) -> Found:
        """Searches several collections as one and returns the best passages of all; `language` where there is none.

        Raises what a search of each raises.
        """
        parts = await asyncio.gather(*(self(replace(spec, collection_id=name), ctx) for name in collection_ids))
        if not parts:
            return Found([], 0, TokenUsage(), language)
        best = sorted((result for part in parts for result in part.results), key=lambda result: -result.score)
        return Found(
            results=best[: spec.k],
            seq=0,
            usage=TokenUsage.of_stages(part.usage.as_stage("query_embedding") for part in parts),
            language=parts[0].language,
            nearest=max(part.nearest for part in parts),
        )

    async def _vector_of(self, spec: SearchSpec, ctx: Context) -> Vectors | None:
        if spec.mode is SearchMode.LEXICAL:
            return None
        return await self._embedder.embed([spec.query], EmbeddingKind.QUERY, ctx)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, CollectionIndex]) -> AsyncIterator[asyncio.Task[CollectionIndex]]:
    """Runs work beside the block, and no longer than it: a block that fails does not leave it behind."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await stop([task])
