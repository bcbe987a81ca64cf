"""Following change logs: the indexes are derived from the record and brought up to it before each search."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from common.context import Context
from common.errors import DeadlineError
from common.store import ChangeRecord, CollectionRecord
from services.query.domain.collection_index import CollectionIndex, DocumentUpdate
from services.query.ports import MakeLexicalIndex, MakeVectorIndex, Record

_POLL_S = 0.05


@dataclass
class _Followed:
    index: CollectionIndex
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class FollowCollections:
    """Holds the index of every collection that was searched, for each tenant apart."""

    def __init__(
        self, record: Record, make_vector_index: MakeVectorIndex, make_lexical_index: MakeLexicalIndex, *, timeout_s: float
    ) -> None:
        self._record = record
        self._make_vector_index = make_vector_index
        self._make_lexical_index = make_lexical_index
        self._timeout_s = timeout_s
        self._followed: dict[tuple[str, str], _Followed] = {}

    async def at_least(self, collection: CollectionRecord, min_seq: int, ctx: Context) -> CollectionIndex:
        """Returns the collection's index with all that is visible in it, and at least change `min_seq`.

        Raises DeadlineError when `min_seq` is not reached in time.
        """
        followed = self._of(collection)
        wanted = max(min_seq, collection.seq)
        give_up = time.monotonic() + ctx.remaining_s(self._timeout_s)
        while followed.index.seq < wanted:
            async with followed.lock:
                if followed.index.seq < wanted:
                    await self._catch_up(collection, followed.index)
            if followed.index.seq < wanted:
                if time.monotonic() + _POLL_S > give_up:
                    raise DeadlineError(f"change {wanted} of collection '{collection.collection_id}'")
                await asyncio.sleep(_POLL_S)  # the change is another server's to make
        return followed.index

    def forget(self, tenant_id: str, collection_id: str) -> None:
        """Frees the index of a collection that is gone."""
        self._followed.pop((tenant_id, collection_id), None)

    def _of(self, collection: CollectionRecord) -> _Followed:
        key = (collection.tenant_id, collection.collection_id)
        known = self._followed.get(key)
        if known is None or known.index.uid != collection.uid:
            lexical = self._make_lexical_index(collection.language)
            known = self._followed[key] = _Followed(CollectionIndex(collection.uid, lexical, self._make_vector_index))
        return known

    async def _catch_up(self, collection: CollectionRecord, index: CollectionIndex) -> None:
        """Applies what the log holds beyond the index, in one step."""
        seq = index.seq
        updates: dict[str, DocumentUpdate] = {}
        while changes := await self._record.changes_after(collection.tenant_id, collection.uid, seq):
            for change in {change.document_id: change for change in changes}.values():
                update = await self._update_of(collection, change)
                if update is not None:
                    updates[change.document_id] = update
            seq = changes[-1].seq
        if seq > index.seq:
            await asyncio.to_thread(index.update, list(updates.values()), seq)

    async def _update_of(self, collection: CollectionRecord, change: ChangeRecord) -> DocumentUpdate | None:
        if change.deleted:
            return DocumentUpdate(change.document_id, ())
        chunks = await self._record.chunks(collection.tenant_id, collection.uid, change.document_id, change.version)
        if len(chunks) != change.chunks:
            # Its chunks are being removed: a later change has replaced this version, and the next round reads it.
            return None
        return DocumentUpdate(change.document_id, chunks)
