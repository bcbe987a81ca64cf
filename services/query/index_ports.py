"""What keeps indexes beyond the life of a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.store import CollectionRecord
from services.query.domain.collection_index import CollectionIndex, IndexContents


@dataclass(frozen=True)
class Kept:
    """A snapshot that is there.

    Attributes:
        uid: The collection's.
        size_bytes: About what its index takes in memory.
    """

    tenant_id: str
    collection_id: str
    uid: str
    seq: int
    size_bytes: int


class Snapshots(Protocol):
    """Copies of indexes on disk. Every method blocks; none but `save` raises."""

    def save(self, collection: CollectionRecord, index: CollectionIndex) -> int:
        """Keeps what the index holds now, unless something newer is kept; returns its change number. Raises OSError."""
        ...

    def load(self, collection: CollectionRecord) -> IndexContents | None:
        """Returns what is kept, or None; what is damaged or was written by other rules is removed."""
        ...

    def size_of(self, collection: CollectionRecord) -> int:
        """Returns about what an index would take in memory; 0 where none is kept."""
        ...

    def forget(self, tenant_id: str, collection_uid: str) -> None:
        """Removes what is kept of a collection."""
        ...

    def kept(self) -> Sequence[Kept]:
        """Returns what is kept, the last one written first."""
        ...
