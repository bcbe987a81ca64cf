"""Finding passages."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from common.context import Context
from common.errors import Code, DeadlineError, InvalidArgumentError, MallaError, NotFoundError
from common.models import EmbeddingKind, SearchMode, SearchResult, TokenUsage
from common.store import CollectionRecord
from common.tasks import stop
from services.query.domain.collection_index import CollectionIndex, Hits, Search, indexed_text
from services.query.domain.duplicates import Distinct, distinct
from services.query.domain.errors import ModelNotServedError
from services.query.domain.explaining import explanation
from services.query.domain.filters import compile_filter
from services.query.domain.joining import Joined, join, widen
from services.query.domain.merging import Part, merged
from services.query.observing import retrieval
from services.query.ports import NOT_SERVED, Embedder, Record, Reranker, Vectors
from services.query.usecases.follow import FollowCollections

DEFAULT_K = 5

_MOST_NEIGHBOURS = 3

# Who asks again may be answered from everything.
_PASSING = frozenset({Code.ABORTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE})

# Collections whose model is remembered: some hundred bytes each.
_MODELS_KEPT = 10_000

log = logging.getLogger("malla.query.search")

T = TypeVar("T")


def _nobody_waits() -> None:
    return None


@dataclass(frozen=True)
class SearchRules:
    """How passages are chosen.

    Attributes:
        candidates: Passages each index proposes before they are fused.
        dense_weight: How much vectors count beside words, from 0 to 1, in a collection that does not say.
        rerank_candidates: Passages the reranker reads, where there is one.
    """

    candidates: int = 100
    dense_weight: float = 0.6
    rerank_candidates: int = 20


@dataclass(frozen=True)
class SearchSpec:
    """What to find.

    Attributes:
        explain: Whether results say how their scores came about.
        context: Chunks to add to each passage on either side.
        request_id: Idempotency key; empty for none.
    """

    collection_id: str
    query: str
    k: int = DEFAULT_K
    mode: SearchMode = SearchMode.HYBRID
    filter: Mapping[str, Any] = field(default_factory=dict)
    min_seq: int = 0
    explain: bool = False
    context: int = 0
    request_id: str = ""


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

    def __init__(
        self,
        record: Record,
        embedder: Embedder,
        follow: FollowCollections,
        rules: SearchRules = SearchRules(),
        reranker: Reranker | None = None,
    ) -> None:
        self._record = record
        self._embedder = embedder
        self._follow = follow
        self._rules = rules
        self._reranker = reranker
        self._models: OrderedDict[tuple[str, str], str] = OrderedDict()

    @retrieval
    async def __call__(self, spec: SearchSpec, ctx: Context, *, on_spent: Callable[[], None] = _nobody_waits) -> Found:
        """Returns the passages. `on_spent` is called as soon as all that the search consumes is noted in the context.

        Raises:
            NotFoundError: The tenant has no such collection.
            InvalidArgumentError: The query is blank or the filter malformed.
            DeadlineError: `min_seq` was not reached in time.
            MallaError: The vector of the query cannot be computed.
        """
        if not spec.query.strip():
            raise InvalidArgumentError([("query", "must hold more than white space")])
        predicate = compile_filter(spec.filter) if spec.filter else None
        spec = replace(spec, k=spec.k or DEFAULT_K)
        collection, index, vectors = await self._prepared(spec, ctx)
        if self._reranker is None:
            on_spent()
        if vectors is None:
            spec = replace(spec, mode=SearchMode.LEXICAL)
        search = Search(
            text=spec.query,
            mode=spec.mode,
            k=self._looked_at(spec.k),
            candidates=max(self._rules.candidates, 2 * spec.k),
            row=None if vectors is None else vectors.rows[0],
            model="" if vectors is None else vectors.model,
            predicate=predicate,
            dense_weight=self._rules.dense_weight if collection.dense_weight is None else collection.dense_weight,
        )
        seq = index.seq
        hits, found = await asyncio.to_thread(_distinct, index, search, spec.k)
        results = await self._results(spec, index, hits, found, ctx)
        usage = TokenUsage() if vectors is None else vectors.usage
        return Found(results, seq, usage, collection.language, hits.nearest)

    async def _prepared(self, spec: SearchSpec, ctx: Context) -> tuple[CollectionRecord, CollectionIndex, Vectors | None]:
        """Returns the collection, its index, and the question's vector of the index's model."""
        key = (ctx.tenant_id, spec.collection_id)
        # The vector is begun with the model that the collection had last time, beside the look whether it still has.
        model = None if spec.mode is SearchMode.LEXICAL else self._models.get(key)
        guess: AbstractAsyncContextManager[asyncio.Task[Vectors] | None] = nullcontext()
        if model is not None:
            guess = _beside(self._embedder.embed([spec.query], EmbeddingKind.QUERY, ctx, model))
        async with guess as guessed:
            collection = await self._record.collection(*key)
            if collection is None:
                self._models.pop(key, None)
                self._follow.forget(*key)
                raise NotFoundError(
                    "collection",
                    spec.collection_id,
                    "Create it with POST /api/v1/collections; GET /api/v1/collections lists them.",
                )
            self._remember(key, collection.model)
            begun = guessed if collection.model == model else None
            async with _beside(self._follow.at_least(collection, spec.min_seq, ctx)) as followed:
                vectors = await self._vector_of(spec, collection.model, ctx, begun)
                index = await followed
        if vectors is not None and index.model and index.model != vectors.model:
            # The collection changes its model just now: this index is of the other one.
            vectors = await self._vector_of(spec, index.model, ctx)
        return collection, index, vectors

    def _remember(self, key: tuple[str, str], model: str) -> None:
        self._models[key] = model
        self._models.move_to_end(key)
        if len(self._models) > _MODELS_KEPT:
            self._models.popitem(last=False)

    def _looked_at(self, k: int) -> int:
        """Returns how many chunks are looked at for `k` passages: some are copies, and some join."""
        return max(_MOST_NEIGHBOURS * k + 10, self._rules.rerank_candidates if self._reranker else 0)

    async def _results(
        self, spec: SearchSpec, index: CollectionIndex, hits: Hits, found: Sequence[Distinct], ctx: Context
    ) -> list[SearchResult]:
        scores = await self._reranked(spec.query, found, ctx)
        if scores:
            found = sorted((one for one in found if _id(one) in scores), key=lambda one: -scores[_id(one)])
        passages = join(found, spec.k)
        if spec.context:
            _widen(passages, index, spec.context)
        return [_result(passage, scores.get(passage.best.chunk.chunk_id), hits, spec) for passage in passages]

    async def _reranked(self, query: str, found: Sequence[Distinct], ctx: Context) -> Mapping[str, float]:
        """Returns the reranker's scores by chunk; none without one, or while it cannot answer: the fused order is good, too."""
        if self._reranker is None or not found:
            return {}
        read = [one.candidate.chunk for one in found[: self._rules.rerank_candidates]]
        try:
            scores = await self._reranker.rerank(query, [indexed_text(chunk) for chunk in read], ctx)
        except DeadlineError:
            raise
        except MallaError as error:
            log.warning("not reranked: %s", error.message)
            ctx.add_metric("reranked", False)
            return {}
        ctx.add_metric("reranked", True)
        return {chunk.chunk_id: score for chunk, score in zip(read, scores, strict=True)}

    async def across(self, collection_ids: Sequence[str], spec: SearchSpec, language: str, ctx: Context) -> Found:
        """Searches several collections as one and returns the best passages of all; `language` where there is none.

        A collection that cannot be searched, one that was deleted for example, is left out while another can: the rest is a
        better answer than none. Raises what a search of each raises where that would pass, or where none can be searched.
        """
        several = len(collection_ids) > 1
        each = (replace(spec, collection_id=name, explain=spec.explain or several) for name in collection_ids)
        parts = await self._each(list(each), ctx)
        if not parts:
            return Found([], 0, TokenUsage(), language)
        best = merged([Part(part.results, part.usage.model) for part in parts]) if several else parts[0].results
        return Found(
            results=best[: spec.k or DEFAULT_K],
            seq=0,
            usage=TokenUsage.of_stages(part.usage.as_stage("query_embedding") for part in parts),
            language=parts[0].language,
            nearest=max(part.nearest for part in parts),
        )

    async def _each(self, specs: Sequence[SearchSpec], ctx: Context) -> list[Found]:
        outcomes = await asyncio.gather(*(self(spec, ctx) for spec in specs), return_exceptions=True)
        found = [outcome for outcome in outcomes if isinstance(outcome, Found)]
        left_out = []
        for spec, outcome in zip(specs, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                if not found or not isinstance(outcome, MallaError) or outcome.code in _PASSING:
                    raise outcome
                log.warning("a collection was left out: %s", outcome.message, extra={"collection": spec.collection_id})
                left_out.append(spec.collection_id)
        if left_out:
            ctx.add_metric("not_searched", left_out)
        return found

    async def _vector_of(
        self, spec: SearchSpec, model: str, ctx: Context, begun: asyncio.Task[Vectors] | None = None
    ) -> Vectors | None:
        """Returns the question's vector of a model, which may have been begun; None where words are all there is to go by."""
        if spec.mode is SearchMode.LEXICAL:
            return None
        try:
            return await (begun or self._embedder.embed([spec.query], EmbeddingKind.QUERY, ctx, model))
        except MallaError as error:
            if error.reason != NOT_SERVED:
                raise
            unserved = ModelNotServedError(model, spec.collection_id, error.message)
            if spec.mode is SearchMode.DENSE:
                raise unserved from error
        log.warning("searched by words only: %s", unserved.message)
        ctx.add_metric("mode", SearchMode.LEXICAL.value)
        ctx.add_metric("notice", f"Searched by words only. {unserved.message}")
        return None


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs work beside the block, and no longer than it: a block that fails does not leave it behind."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await stop([task])
        if not task.cancelled():
            task.exception()  # seen: a block that ended early asks no more


def _distinct(index: CollectionIndex, search: Search, k: int) -> tuple[Hits, list[Distinct]]:
    """Returns what was found without copies; where copies left fewer than `k`, it looks at all candidates there are."""
    hits = index.search(search)
    found = distinct(hits.candidates)
    if len(found) < k and len(hits.candidates) == search.k:
        hits = index.search(replace(search, k=2 * search.candidates))
        found = distinct(hits.candidates)
    return hits, found


def _id(one: Distinct) -> str:
    return one.candidate.chunk.chunk_id


def _widen(passages: Sequence[Joined], index: CollectionIndex, distance: int) -> None:
    taken = {chunk.chunk_id for passage in passages for chunk in passage.chunks}
    for passage in passages:
        widen(passage, index.neighbours(passage.best.chunk, distance + len(passage.chunks)), distance, taken)


def _result(passage: Joined, rerank_score: float | None, hits: Hits, spec: SearchSpec) -> SearchResult:
    chunk, fused = passage.best.chunk, passage.best.fused
    told = None
    if spec.explain:
        title = str(chunk.metadata.get("title", ""))
        told = explanation(fused, hits.coverage, rerank_score, spec.query, title)
    return SearchResult(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        text=passage.text,
        score=fused.score if rerank_score is None else rerank_score,
        metadata={**chunk.metadata, "heading": chunk.heading} if chunk.heading else chunk.metadata,
        page=chunk.page,
        start_offset=passage.chunks[0].start_offset,
        end_offset=passage.chunks[-1].end_offset,
        chunk_ids=[part.chunk_id for part in passage.chunks],
        also_in=passage.also_in,
        explanation=told,
    )
