"""The passages of a collection: which keys belong to which document, and how a passage is written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.store import ChunkRecord

# What a document costs: objects, its metadata and its place in a dictionary.
_DOCUMENT_BYTES = 1000
_KEPT_APART = {"vector", "metadata", "version"}
_NO_KEYS = range(0)


@dataclass(frozen=True, slots=True)
class Document:
    """A document's visible version: what all its passages share.

    Attributes:
        keys: Of its passages, in order.
        checksum: Over the identifiers of its passages.
    """

    document_id: str
    version: int
    metadata: Mapping[str, Any]
    keys: range
    checksum: int

    @classmethod
    def of(cls, first_key: int, chunks: Sequence[ChunkRecord]) -> Document:
        """Returns the document of these passages, which have keys that follow each other."""
        first, keys = chunks[0], range(first_key, first_key + len(chunks))
        return cls(first.document_id, first.version, first.metadata, keys, _sum(chunk.chunk_id for chunk in chunks))

    def written(self, chunk: ChunkRecord) -> bytes:
        """Returns a passage without its vector and without what the document knows."""
        row = chunk.model_dump(exclude=_KEPT_APART)
        if chunk.metadata != self.metadata:
            row["metadata"] = chunk.metadata
        return _json(row)


class Documents:
    """What an index holds of each document. Not safe for reading during a change; its owner takes care."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._documents = {document.document_id: document for document in documents}
        self._passages = sum(len(document.keys) for document in self._documents.values())

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents.values())

    @property
    def passages(self) -> int:
        """How many passages they have."""
        return self._passages

    @property
    def size_bytes(self) -> int:
        """About what they take in memory."""
        return _DOCUMENT_BYTES * len(self._documents)

    @property
    def last_key(self) -> int:
        """The highest key; -1 without any."""
        return max((document.keys.stop for document in self), default=0) - 1

    def get(self, document_id: str) -> Document | None:
        """Returns a document."""
        return self._documents.get(document_id)

    def keys_of(self, document_id: str) -> range:
        """Returns the keys of a document's passages, in order; none for an unknown document."""
        document = self._documents.get(document_id)
        return _NO_KEYS if document is None else document.keys

    def read(self, row: bytes) -> ChunkRecord:
        """Returns the passage that was written down as `row`, without its vector."""
        fields = json.loads(row)
        document = self._documents[fields["document_id"]]
        fields.setdefault("metadata", document.metadata)
        return ChunkRecord.model_construct(**fields, version=document.version, vector=b"")

    def checksum(self) -> str:
        """Returns a checksum over the identifiers of all passages, whatever their order."""
        return _shown(sum(document.checksum for document in self))

    def put(self, document: Document) -> None:
        """Adds a document, or replaces it."""
        self.pop(document.document_id)
        self._documents[document.document_id] = document
        self._passages += len(document.keys)

    def pop(self, document_id: str) -> None:
        """Removes a document, where it is known."""
        document = self._documents.pop(document_id, None)
        self._passages -= 0 if document is None else len(document.keys)

    def copy(self) -> Documents:
        """Returns the documents there are now."""
        return Documents(self._documents.values())

    def lines(self) -> Iterator[bytes]:
        """Yields what `of_lines` reads: a line a document."""
        for document in self:
            keys = [document.keys.start, document.keys.stop]
            yield _json(
                {
                    "document_id": document.document_id,
                    "version": document.version,
                    "metadata": document.metadata,
                    "keys": keys,
                    "checksum": document.checksum,
                }
            )

    @classmethod
    def of_lines(cls, lines: Iterable[bytes]) -> Documents:
        """Returns what `lines` wrote."""
        rows = (json.loads(line) for line in lines)
        return cls(Document(**{**row, "keys": range(*row["keys"])}) for row in rows)


def checksum_of(chunk_ids: Iterable[str]) -> str:
    """Returns a checksum over identifiers, whatever their order: the sum of their hashes."""
    return _shown(_sum(chunk_ids))


def _sum(chunk_ids: Iterable[str]) -> int:
    hashes = (hashlib.blake2b(chunk_id.encode(), digest_size=8).digest() for chunk_id in chunk_ids)
    return sum(int.from_bytes(one, "big") for one in hashes) % 2**64


def _shown(total: int) -> str:
    return f"{total % 2**64:016x}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
