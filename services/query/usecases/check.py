"""Comparing indexes with the record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from common.context import Context
from common.errors import NotFoundError
from common.models import IndexCheck, IndexState
from common.store import ChangeRecord, CollectionRecord
from services.query.domain.collection_index import CollectionIndex, Inventory
from services.query.domain.passages import checksum_of
from services.query.ports import Record
from services.query.usecases.follow import FollowCollections
from services.query.usecases.replay import trips

# Documents come while a collection is compared; it is compared again then.
_ATTEMPTS = 3
_DIFFERENCES = 20


@dataclass
class CheckIndexes:
    """Finds the indexes that disagree with the record, and makes them anew."""

    record: Record
    follow: FollowCollections

    async def __call__(self, collection_id: str, ctx: Context, *, report_only: bool = False) -> list[IndexCheck]:
        """Compares one collection, or all of the tenant's.

        Raises NotFoundError for an unknown collection, DeadlineError, UnavailableError.
        """
        if not collection_id:
            collections = await self.record.collections(ctx.tenant_id)
        else:
            collection = await self.record.collection(ctx.tenant_id, collection_id)
            if collection is None:
                raise NotFoundError("collection", collection_id, "GET /api/v1/collections lists them.")
            collections = [collection]
        return [await self._checked(collection, ctx, report_only=report_only) for collection in collections]

    async def _checked(self, collection: CollectionRecord, ctx: Context, *, report_only: bool) -> IndexCheck:
        index, differences = await self._compared(collection, ctx)
        state = IndexState.DIFFERS if differences else IndexState.OK
        if differences and not report_only:
            await self.follow.discard(collection)
            index, remaining = await self._compared(collection, ctx)
            state = IndexState.DIFFERS if remaining else IndexState.REBUILT
            differences = remaining or differences
        return IndexCheck(
            collection_id=collection.collection_id,
            state=state,
            differences=differences,
            seq=index.seq,
            documents=index.documents,
            chunks=len(index),
            size_bytes=index.size_bytes,
        )

    async def _compared(self, collection: CollectionRecord, ctx: Context) -> tuple[CollectionIndex, list[str]]:
        for attempt in range(1, _ATTEMPTS + 1):
            index = await self.follow.at_least(collection, 0, ctx)
            await self.follow.settled(collection)
            index = await self.follow.at_least(collection, 0, ctx)
            held = await asyncio.to_thread(index.inventory)
            log = await self.record.changes_after(collection.tenant_id, collection.uid, 0)
            head = log[-1].seq if log else 0
            if held.seq < head and attempt < _ATTEMPTS:
                collection = collection.model_copy(update={"seq": head})
                continue
            wanted = _visible(change for change in log if change.seq <= held.seq)
            differences = list(islice(_differences(held, head, wanted), _DIFFERENCES))
            if not differences and held.seq == head:
                differences = await self._different_chunks(collection, held, wanted, index.model)
            return index, differences
        raise AssertionError("the last attempt returns")

    async def _different_chunks(
        self, collection: CollectionRecord, held: Inventory, wanted: Mapping[str, ChangeRecord], model: str
    ) -> list[str]:
        chunk_ids: list[str] = []
        for some in trips(wanted[name] for name in sorted(wanted)):
            versions = {change.document_id: change.version for change in some}
            chunk_ids += await self.record.chunk_ids(collection.tenant_id, collection.uid, versions, model)
        if checksum_of(chunk_ids) == held.checksum:
            return []
        change = await self.record.change(collection.tenant_id, collection.uid, held.seq + 1)
        if change is not None:
            return []  # a version was retired meanwhile
        return [f"the chunks are others: checksum {checksum_of(chunk_ids)} in the record, {held.checksum} in the index"]


def _visible(log: Iterator[ChangeRecord]) -> Mapping[str, ChangeRecord]:
    """Returns the change that made each visible document what it is; documents without passages are in no index."""
    last = {change.document_id: change for change in log if not change.switches}
    return {name: change for name, change in last.items() if not change.deleted and change.chunks}


def _differences(held: Inventory, head: int, wanted: Mapping[str, ChangeRecord]) -> Iterator[str]:
    if held.seq > head:
        yield f"the index holds change {held.seq}, the record ends with {head}"
    for name, change in wanted.items():
        version, chunks = held.documents.get(name, (0, 0))
        if (version, chunks) != (change.version, change.chunks):
            yield (
                f"document '{name}': version {change.version} with {change.chunks} chunks in the record, "
                + (f"version {version} with {chunks} in the index" if version else "none in the index")
            )
    for name in held.documents.keys() - wanted.keys():
        yield f"document '{name}': in the index, not in the record"
    yield from _uneven(held)


def _uneven(held: Inventory) -> Sequence[str]:
    parts = {"vectors": held.vectors, "texts": held.texts}
    return [f"the index holds {count} {name} for {held.chunks} chunks" for name, count in parts.items() if count != held.chunks]
