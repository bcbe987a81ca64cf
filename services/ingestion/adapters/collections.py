"""Collections in the record."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Any

from common.store import ChangeRecord, CollectionRecord, Rows, Store

_CONTENTS = ("changes", "chunks", "documents", "jobs")
# No identifier of a user's begins with it, so a hidden collection's never meets a live one's.
_HIDDEN = "~"
_LATELY_S, _MOST_SEEN = 1.0, 1000


class MongoCollections:
    """Rows of `collections`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: OrderedDict[tuple[str, str], tuple[float, CollectionRecord]] = OrderedDict()

    async def add(self, record: CollectionRecord) -> bool:
        """Adds a collection; False where its identifier is taken."""
        return await self._rows(record.tenant_id).insert(record.model_dump(by_alias=True))

    async def get(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        """Returns a collection."""
        row = await self._rows(tenant_id).find_one({"collection_id": collection_id, "deleted": False})
        return None if row is None else self._note(CollectionRecord.model_validate(row))

    async def lately(self, tenant_id: str, collection_id: str, uid: str) -> CollectionRecord | None:
        """Returns a collection as it was less than a second ago."""
        at, seen = self._seen.get((tenant_id, collection_id), (0.0, None))
        if seen is not None and seen.uid == uid and time.monotonic() - at < _LATELY_S:
            return seen
        return await self.get(tenant_id, collection_id)

    def _note(self, record: CollectionRecord) -> CollectionRecord:
        key = (record.tenant_id, record.collection_id)
        self._seen[key] = (time.monotonic(), record)
        self._seen.move_to_end(key)
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        return record

    async def page(self, tenant_id: str, after: str, size: int) -> AsyncIterator[CollectionRecord]:
        """Yields at most `size` collections whose identifier follows `after`, by identifier."""
        query = {"collection_id": {"$gt": after}, "deleted": False}
        async for row in self._rows(tenant_id).find(query, order=[("collection_id", 1)], limit=size):
            yield CollectionRecord.model_validate(row)

    async def raise_seq(self, tenant_id: str, uid: str, change: ChangeRecord) -> None:
        """Notes that a change is visible, and the model from it on, unless a later one was noted."""
        noted = {"seq": change.seq, "model": change.model}
        await self._rows(tenant_id).update({"_id": uid, "seq": {"$lt": change.seq}}, {"$set": noted})

    async def claim(self, tenant_id: str, uid: str, holder: str, job_id: str) -> bool:
        """Makes a job the one that changes the collection's model; False where it is no longer `holder` that is."""
        self._seen.clear()
        held = {"_id": uid, "deleted": False, "reindex_job": holder}
        return await self._rows(tenant_id).update(held, {"$set": {"reindex_job": job_id}})

    async def change(self, tenant_id: str, uid: str, fields: Mapping[str, Any]) -> CollectionRecord | None:
        """Sets fields of a collection and returns it; None where it is gone."""
        row = await self._rows(tenant_id).update_returning({"_id": uid, "deleted": False}, {"$set": dict(fields)})
        return None if row is None else CollectionRecord.model_validate(row)

    async def hide(self, tenant_id: str, uid: str) -> None:
        """Makes a collection invisible and frees its identifier."""
        self._seen.clear()
        await self._rows(tenant_id).update({"_id": uid}, {"$set": {"deleted": True, "collection_id": _HIDDEN + uid}})

    async def hidden(self) -> AsyncIterator[CollectionRecord]:
        """Yields the collections of all tenants that are hidden but not yet purged."""
        async for row in self._store.all_tenants("collections").find({"deleted": True}, order=[("_id", 1)]):
            yield CollectionRecord.model_validate(row)

    async def purge(self, tenant_id: str, uid: str) -> None:
        """Removes everything a hidden collection held, and it."""
        held = {"collection_uid": uid}
        async for job in self._store.rows(tenant_id, "jobs").find(held, order=[("_id", 1)]):
            await self._store.rows(tenant_id, "blobs").delete({"blob_id": job["blob_id"]})
        for name in _CONTENTS:
            await self._store.rows(tenant_id, name).delete(held)
        await self._rows(tenant_id).delete({"_id": uid})

    def _rows(self, tenant_id: str) -> Rows:
        return self._store.rows(tenant_id, "collections")
