"""What one collection's searches run on: passages, their vectors and their words, at one change number."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from common.models import SearchMode, SearchResult
from common.store import ChunkRecord
from services.query.domain.filters import Predicate
from services.query.domain.fusion import fuse
from services.query.ports import Keys, LexicalIndex, MakeVectorIndex, Matrix, VectorIndex

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Search:
    """One search.

    Attributes:
        row: (dimensions,) float32 vector of the query, L2-normalised; None in lexical mode.
        model: The model of `row`.
        candidates: Passages each index proposes before the rankings are fused.
    """

    text: str
    mode: SearchMode
    k: int
    candidates: int
    row: Matrix | None = None
    model: str = ""
    predicate: Predicate | None = None


@dataclass(frozen=True)
class Hits:
    """The passages found, best first, and the cosine of the nearest one; 0 where no vectors were compared."""

    results: list[SearchResult]
    nearest: float


@dataclass(frozen=True)
class DocumentUpdate:
    """What a document became: its chunks, or none when it was deleted."""

    document_id: str
    chunks: Sequence[ChunkRecord]


@dataclass
class CollectionIndex:
    """The passages of one collection. A search sees every document whole, in its old or its new version.

    Attributes:
        uid: The collection's.
        seq: Number of the last change that is in.
    """

    uid: str
    lexical: LexicalIndex
    make_vector_index: MakeVectorIndex
    seq: int = 0
    _vectors: dict[str, VectorIndex] = field(default_factory=dict)
    _chunks: dict[int, ChunkRecord] = field(default_factory=dict)
    _keys: dict[str, list[int]] = field(default_factory=dict)
    _next_key: count[int] = field(default_factory=count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self, updates: Sequence[DocumentUpdate], seq: int) -> None:
        """Brings documents to their state at change `seq`, all in one step for any search."""
        with self._lock:
            removed = [key for update in updates for key in self._keys.pop(update.document_id, ())]
            added: dict[int, ChunkRecord] = {}
            for update in updates:
                keys = [next(self._next_key) for _ in update.chunks]
                added.update(zip(keys, update.chunks, strict=True))
                if keys:
                    self._keys[update.document_id] = keys
            if removed or added:
                self._replace(removed, added)
            self.seq = seq

    def _replace(self, removed: Sequence[int], added: Mapping[int, ChunkRecord]) -> None:
        for index in self._vectors.values():
            if removed:
                index.remove(removed)
        for key in removed:
            del self._chunks[key]
        by_model: dict[str, list[int]] = {}
        for key, chunk in added.items():
            by_model.setdefault(chunk.model, []).append(key)
        for model, keys in by_model.items():
            rows = np.frombuffer(b"".join(added[key].vector for key in keys), dtype="<f4").reshape(len(keys), -1)
            self._of_model(model, rows.shape[1]).add(keys, rows)
        self._chunks.update(added)
        self.lexical.update({key: _indexed_text(chunk) for key, chunk in added.items()}, removed)

    def _of_model(self, model: str, dimensions: int) -> VectorIndex:
        # One index a model: vectors of two models cannot be compared.
        if model not in self._vectors:
            self._vectors[model] = self.make_vector_index(dimensions)
        return self._vectors[model]

    def search(self, search: Search) -> Hits:
        """Returns the best passages. May run in a thread."""
        with self._lock:
            among = self._matching(search.predicate)
            depth = max(search.candidates, search.k)
            dense = {} if search.mode is SearchMode.LEXICAL else self._dense(search, depth, among)
            lexical = {} if search.mode is SearchMode.DENSE else self.lexical.search(search.text, depth, among)
            ranked = fuse([dense, lexical]) if search.mode is SearchMode.HYBRID else dense or lexical
            best = list(ranked.items())[: search.k]
            return Hits([_result(self._chunks[key], score) for key, score in best], max(dense.values(), default=0.0))

    def _dense(self, search: Search, k: int, among: Keys) -> dict[int, float]:
        index = self._vectors.get(search.model)
        return {} if index is None or search.row is None else index.search(search.row, k, among)

    def _matching(self, predicate: Predicate | None) -> Keys:
        if predicate is None:
            return None
        return [key for key, chunk in self._chunks.items() if predicate(_searchable(chunk))]


def _searchable(chunk: ChunkRecord) -> Mapping[str, object]:
    return {**chunk.metadata, "document_id": chunk.document_id}


def _indexed_text(chunk: ChunkRecord) -> str:
    return "\n".join(filter(None, (str(chunk.metadata.get("title", "")), chunk.heading, chunk.text)))


def _result(chunk: ChunkRecord, score: float) -> SearchResult:
    metadata = {**chunk.metadata, "heading": chunk.heading} if chunk.heading else chunk.metadata
    return SearchResult(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        text=chunk.text,
        score=score,
        metadata=metadata,
        page=chunk.page,
        start_offset=chunk.start_offset,
        end_offset=chunk.end_offset,
    )
