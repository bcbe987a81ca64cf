"""A record, the servers that follow it, and where they keep their indexes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from common.context import Context
from common.models import SearchMode
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.snapshots import FolderSnapshots
from services.query.domain.collection_index import Search
from services.query.usecases.follow import FollowCollections
from services.query.usecases.keep import KeepIndexes, KeepRules
from tests.fakes.engine import vector_of
from tests.fakes.query import DIMENSIONS, MODEL, MemoryRecord


class CountingRecord(MemoryRecord):
    """Notes which documents' chunks were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def chunks_of(self, tenant_id, collection_uid, versions, model=""):
        self.read += versions
        return await super().chunks_of(tenant_id, collection_uid, versions, model)


class Server:
    """One query server's indexes."""

    def __init__(
        self, record: MemoryRecord, folder: Path, *, memory_bytes: int = 0, flat_most: int = 20_000, **rules: float
    ) -> None:
        self.record = record
        self.snapshots = FolderSnapshots(folder, partial(FaissIndex.load, flat_most=flat_most))
        self.follow = FollowCollections(
            record,
            partial(FaissIndex, flat_most=flat_most),
            self.snapshots.make_lexical,
            timeout_s=10,
            snapshots=self.snapshots,
            memory_bytes=memory_bytes,
        )
        self.keep = KeepIndexes(record, self.follow, self.snapshots, KeepRules(**rules))

    async def found(self, text: str = "luz", mode: SearchMode = SearchMode.LEXICAL, *, collection: str = "manual") -> list[str]:
        """Returns the chunks a search finds, by identifier."""
        known = await self.record.collection("acme", collection)
        assert known is not None
        index = await self.follow.at_least(known, 0, Context())
        hits = index.search(Search(text, mode, 50, 50, vector_of(text, DIMENSIONS), MODEL))
        return sorted(candidate.chunk.chunk_id for candidate in hits.candidates)

    async def save(self) -> None:
        """Keeps every index that is in memory."""
        for followed in self.follow.resident:
            await self.follow.keep(followed)

    async def stop(self) -> None:
        await self.follow.close()
        self.snapshots.close()
