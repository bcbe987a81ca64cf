"""What one collection's searches run on: passages, their vectors and their words, at one change number."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.models import SearchMode
from common.store import ChunkRecord
from services.query.domain.filters import Predicate
from services.query.domain.fusion import Fused, Ranking, fuse
from services.query.domain.gate import Gate
from services.query.domain.passages import Document, Documents
from services.query.ports import Commit, Keys, LexicalIndex, MakeVectorIndex, Matrix, Text, VectorIndex

_FLOAT_BYTES = 4

TEXT_FORMAT = 1
"""Raised whenever other words of a passage go to the lexical index, so that indexes kept from before are made anew."""


@dataclass(frozen=True)
class Search:
    """One search.

    Attributes:
        row: (dimensions,) float32 vector of the query, L2-normalised; None in lexical mode.
        model: The model of `row`.
        k: Passages to return.
        candidates: Passages each index proposes before the rankings are fused.
        dense_weight: How much vectors count beside words, from 0 to 1.
    """

    text: str
    mode: SearchMode
    k: int
    candidates: int
    row: Matrix | None = None
    model: str = ""
    predicate: Predicate | None = None
    dense_weight: float = 0.5


@dataclass(frozen=True)
class Candidate:
    """A passage and why it stands where it does."""

    chunk: ChunkRecord
    fused: Fused


@dataclass(frozen=True)
class Hits:
    """What a search found.

    Attributes:
        candidates: Best first.
        nearest: Cosine of the nearest passage; 0 where no vectors were compared.
        coverage: Share, 0 to 1, of the query's words that the collection holds; 0 where no words were compared.
    """

    candidates: list[Candidate]
    nearest: float
    coverage: float


@dataclass(frozen=True)
class DocumentUpdate:
    """What a document became: its chunks, or none when it was deleted."""

    document_id: str
    chunks: Sequence[ChunkRecord]


@dataclass(frozen=True)
class IndexContents:
    """What an index is made of.

    Attributes:
        seq: Number of the last change that is in.
        mark: Says which change that was.
        vectors: By model.
    """

    seq: int
    mark: str
    documents: Documents
    vectors: Mapping[str, VectorIndex]
    lexical: LexicalIndex
    model: str = ""


@dataclass(frozen=True)
class Inventory:
    """What an index holds, to be compared with the record.

    Attributes:
        documents: (version, chunks) by document.
        chunks: How many passages there are; `vectors` and `texts` should be as many.
        checksum: Over the identifiers of the chunks.
    """

    seq: int
    documents: Mapping[str, tuple[int, int]]
    chunks: int
    vectors: int
    texts: int
    checksum: str


@dataclass
class CollectionIndex:
    """The passages of one collection. A search sees every document whole, in its old or its new version.

    Any number of searches run at a time; a change is prepared beside them and made while none runs.

    Attributes:
        uid: The collection's.
        seq: Number of the last change that is in.
        mark: Says which change that was, for logs of the same length can differ.
        model: The embedding model that all its vectors are of, for good: another model's index is another one. Empty for one of
            records that do not say.
    """

    uid: str
    lexical: LexicalIndex
    make_vector_index: MakeVectorIndex
    seq: int = 0
    mark: str = ""
    model: str = ""
    _vectors: dict[str, VectorIndex] = field(default_factory=dict)
    _documents: Documents = field(default_factory=Documents)
    _next_key: int = 0
    _gate: Gate = field(default_factory=Gate)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def restored(cls, uid: str, contents: IndexContents, make_vector_index: MakeVectorIndex) -> CollectionIndex:
        """Returns the index that had these contents."""
        index = cls(uid, contents.lexical, make_vector_index, contents.seq, contents.mark, contents.model)
        index._vectors, index._documents = dict(contents.vectors), contents.documents
        index._next_key = contents.documents.last_key + 1
        return index

    def __len__(self) -> int:
        return self._documents.passages

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return self._documents.size_bytes + self.lexical.size_bytes + sum(index.size_bytes for index in self._vectors.values())

    @property
    def documents(self) -> int:
        """How many documents have passages in it."""
        return len(self._documents)

    def inventory(self) -> Inventory:
        """Returns what it holds. Changes wait meanwhile, searches do not."""
        with self.still() as contents:
            held = contents.documents
            return Inventory(
                seq=contents.seq,
                documents={document.document_id: (document.version, len(document.keys)) for document in held},
                chunks=held.passages,
                vectors=sum(len(index) for index in contents.vectors.values()),
                texts=len(contents.lexical),
                checksum=held.checksum(),
            )

    @contextmanager
    def still(self) -> Iterator[IndexContents]:
        """Keeps changes waiting, but not searches, while the block reads the contents."""
        with self._changing:
            yield IndexContents(self.seq, self.mark, self._documents, self._vectors, self.lexical, self.model)

    def update(self, updates: Sequence[DocumentUpdate], seq: int, mark: str = "") -> None:
        """Brings documents to their state at change `seq`, all in one step for any search.

        An index that is at `seq` already stays as it is. After an exception the index is of no use.
        """
        with self._changing:
            if seq > self.seq:
                self._apply(updates, seq, mark)

    def fill(self, updates: Sequence[DocumentUpdate]) -> None:
        """Takes in a part of what an `update` will complete. Only while no search sees the index."""
        with self._changing:
            self._apply(updates, self.seq, self.mark)

    def _apply(self, updates: Sequence[DocumentUpdate], seq: int, mark: str) -> None:
        removed = [key for update in updates for key in self._documents.keys_of(update.document_id)]
        added = [(self._document(update.chunks), update.chunks) for update in updates if update.chunks]
        commits = self._staged(removed, added)
        with self._gate.alone():
            for commit in commits:
                commit()
            for update in updates:
                self._documents.pop(update.document_id)
            for document, _ in added:
                self._documents.put(document)
            self.seq, self.mark = seq, mark

    def _document(self, chunks: Sequence[ChunkRecord]) -> Document:
        first, self._next_key = self._next_key, self._next_key + len(chunks)
        return Document.of(first, chunks)

    def _staged(self, removed: Sequence[int], added: Sequence[tuple[Document, Sequence[ChunkRecord]]]) -> Sequence[Commit]:
        by_key = {key: chunk for document, chunks in added for key, chunk in zip(document.keys, chunks, strict=True)}
        by_model: dict[str, list[int]] = {model: [] for model in self._vectors}
        for key, chunk in by_key.items():
            by_model.setdefault(chunk.model, []).append(key)
        commits = [
            self._of_model(model, keys, by_key).stage(keys, _rows(keys, by_key), removed)
            for model, keys in by_model.items()
            if keys or removed
        ]
        texts = {
            key: Text(indexed_text(chunk), document.written(chunk))
            for document, chunks in added
            for key, chunk in zip(document.keys, chunks, strict=True)
        }
        if texts or removed:
            commits.append(self.lexical.stage(texts, removed))
        return commits

    def _of_model(self, model: str, keys: Sequence[int], added: Mapping[int, ChunkRecord]) -> VectorIndex:
        # One index a model: vectors of two models cannot be compared.
        if model not in self._vectors:
            empty = self.make_vector_index(len(added[keys[0]].vector) // _FLOAT_BYTES)
            self._vectors = {**self._vectors, model: empty}
        return self._vectors[model]

    @property
    def outgrown(self) -> bool:
        """Whether `fit` has something to do."""
        return any(index.outgrown for index in self._vectors.values())

    def fit(self) -> None:
        """Makes the vector indexes that no longer fit their size anew, beside searches and changes, and switches to them."""
        for model, index in list(self._vectors.items()):
            if not index.outgrown:
                continue
            fitting = index.beside(self._gate.shared)
            with self._changing:
                fitting.catch_up(index)
                with self._gate.alone():
                    self._vectors = {**self._vectors, model: fitting}

    def search(self, search: Search) -> Hits:
        """Returns the best passages. May run in a thread."""
        with self._gate.shared():
            among = self._matching(search.predicate)
            depth = max(search.candidates, search.k)
            dense = {} if search.mode is SearchMode.LEXICAL else self._dense(search, depth, among)
            lexical = {} if search.mode is SearchMode.DENSE else self.lexical.search(search.text, depth, among)
            coverage = 0.0 if search.mode is SearchMode.DENSE else self.lexical.coverage(search.text)
            # Words that the collection does not know make the others look better than they are: a question in another
            # language shares names and accidents with it.
            rankings = {
                SearchMode.LEXICAL: Ranking("dense", dense, search.dense_weight),
                SearchMode.DENSE: Ranking("lexical", lexical, (1 - search.dense_weight) * coverage),
            }
            fused = fuse([ranking for other, ranking in rankings.items() if search.mode is not other], search.k)
            chunks = self._read([one.key for one in fused])
            found = [Candidate(chunks[one.key], one) for one in fused if one.key in chunks]
            return Hits(found, max(dense.values(), default=0.0), coverage)

    def neighbours(self, chunk: ChunkRecord, distance: int) -> list[ChunkRecord]:
        """Returns the passages around one in its document, and it, in order; none where its version is no longer visible."""
        with self._gate.shared():
            document = self._documents.get(chunk.document_id)
            if document is None or document.version != chunk.version:
                return []
            # Passages of a version are numbered from 0 without gaps, so the number is the place.
            first = max(0, chunk.ordinal - distance)
            return list(self._read(document.keys[first : chunk.ordinal + distance + 1]).values())

    def _read(self, keys: Sequence[int]) -> Mapping[int, ChunkRecord]:
        rows = self.lexical.rows(keys)
        return {key: self._documents.read(rows[key]) for key in keys if key in rows}

    def _dense(self, search: Search, k: int, among: Keys) -> dict[int, float]:
        index = self._vectors.get(search.model)
        return {} if index is None or search.row is None else index.search(search.row, k, among)

    def _matching(self, predicate: Predicate | None) -> Keys:
        if predicate is None:
            return None
        # All passages of a document share its metadata.
        return _keys([document.keys for document in self._documents if predicate(_searchable(document))])


def _searchable(document: Document) -> Mapping[str, object]:
    return {**document.metadata, "document_id": document.document_id}


def _keys(ranges: Sequence[range]) -> NDArray[np.int64]:
    """Returns the numbers of all ranges: in a hundredth of the time that Python takes for a million."""
    starts = np.fromiter((one.start for one in ranges), np.int64, len(ranges))
    counts = np.fromiter((len(one) for one in ranges), np.int64, len(ranges))
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())


def _rows(keys: Sequence[int], added: Mapping[int, ChunkRecord]) -> Matrix:
    rows = np.frombuffer(b"".join(added[key].vector for key in keys), dtype="<f4")
    return rows.reshape(len(keys), -1) if keys else np.empty((0, 0), dtype=np.float32)


def indexed_text(chunk: ChunkRecord) -> str:
    """Returns what is searched of a passage: the title and headings say what it is about when its own words do not."""
    return "\n".join(filter(None, (str(chunk.metadata.get("title", "")), chunk.heading, chunk.text)))
