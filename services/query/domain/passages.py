"""The passages of a collection, as compact as they are written to disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.store import ChunkRecord

# What a row and a document cost beside their bytes: objects and their places in dictionaries.
_ROW_OVERHEAD_BYTES = 150
_DOCUMENT_OVERHEAD_BYTES = 600
_KEPT_APART = {"vector", "metadata", "version"}


@dataclass(frozen=True)
class Document:
    """A document's visible version: what all its passages share, and their keys in order."""

    document_id: str
    version: int
    metadata: Mapping[str, Any]
    keys: Sequence[int]


class Passages:
    """Passages by key, without their vectors. Each is a line of JSON until it is asked for: a tenth of the memory of an object.

    Not safe for reading during a change; its owner takes care.
    """

    def __init__(self) -> None:
        self._rows: dict[int, bytes] = {}
        self._documents: dict[str, Document] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int) -> ChunkRecord:
        row = json.loads(self._rows[key])
        document = self._documents[row["document_id"]]
        row.setdefault("metadata", document.metadata)
        return ChunkRecord.model_construct(**row, version=document.version, vector=b"")

    @property
    def size_bytes(self) -> int:
        """About what they take in memory."""
        return self._bytes + _ROW_OVERHEAD_BYTES * len(self._rows) + _DOCUMENT_OVERHEAD_BYTES * len(self._documents)

    @property
    def last_key(self) -> int:
        """The highest key; -1 without any."""
        return max(self._rows, default=-1)

    def documents(self) -> Collection[Document]:
        """Returns the documents that have passages."""
        return self._documents.values()

    def document(self, document_id: str) -> Document | None:
        """Returns a document."""
        return self._documents.get(document_id)

    def keys_of(self, document_id: str) -> Sequence[int]:
        """Returns the keys of a document's passages, in order; none for an unknown document."""
        document = self._documents.get(document_id)
        return () if document is None else document.keys

    def checksum(self) -> str:
        """Returns a checksum over the identifiers of all passages, whatever their order."""
        return checksum_of(str(json.loads(row)["chunk_id"]) for row in self._rows.values())

    def put(self, chunks: Mapping[int, ChunkRecord]) -> None:
        """Adds one document's passages, in order, under their keys."""
        if chunks:
            first = next(iter(chunks.values()))
            document = Document(first.document_id, first.version, first.metadata, list(chunks))
            self._hold(document, [_encoded(chunk, first.metadata) for chunk in chunks.values()])

    def pop(self, document_id: str) -> Sequence[int]:
        """Removes a document; returns the keys its passages had."""
        document = self._documents.pop(document_id, None)
        if document is None:
            return ()
        for key in document.keys:
            self._bytes -= len(self._rows.pop(key))
        return document.keys

    def lines(self) -> Iterator[bytes]:
        """Yields what `of_lines` reads: for each document a line about it, then one for each passage."""
        for document in self._documents.values():
            about = {
                "document_id": document.document_id,
                "version": document.version,
                "metadata": document.metadata,
                "keys": document.keys,
            }
            yield _json(about)
            yield from (self._rows[key] for key in document.keys)

    @classmethod
    def of_lines(cls, lines: Iterable[bytes]) -> Passages:
        """Returns what `lines` wrote."""
        passages = cls()
        remaining = iter(lines)
        for line in remaining:
            document = Document(**json.loads(line))
            passages._hold(document, [next(remaining) for _ in document.keys])
        return passages

    def _hold(self, document: Document, rows: Sequence[bytes]) -> None:
        self._documents[document.document_id] = document
        for key, row in zip(document.keys, rows, strict=True):
            self._rows[key] = row
            self._bytes += len(row)


def checksum_of(chunk_ids: Iterable[str]) -> str:
    """Returns a checksum over identifiers, whatever their order: the sum of their hashes."""
    total = 0
    for chunk_id in chunk_ids:
        total += int.from_bytes(hashlib.blake2b(chunk_id.encode(), digest_size=8).digest(), "big")
    return f"{total % 2**64:016x}"


def _encoded(chunk: ChunkRecord, shared: Mapping[str, Any]) -> bytes:
    row = chunk.model_dump(exclude=_KEPT_APART)
    if chunk.metadata != shared:
        row["metadata"] = chunk.metadata
    return _json(row)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
