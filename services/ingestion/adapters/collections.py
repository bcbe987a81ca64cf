"""Collections in the record."""

from __future__ import annotations

from collections.abc import AsyncIterator

from common.store import CollectionRecord, Rows, Store

_CONTENTS = ("changes", "chunks", "documents", "jobs")
# No identifier of a user's begins with it, so a hidden collection's never meets a live one's.
_HIDDEN = "~"


class MongoCollections:
    """Rows of `collections`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, record: CollectionRecord) -> bool:
        """Adds a collection; False where its identifier is taken."""
        return await self._rows(record.tenant_id).insert(record.model_dump(by_alias=True))

    async def get(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        """Returns a collection."""
        row = await self._rows(tenant_id).find_one({"collection_id": collection_id, "deleted": False})
        return None if row is None else CollectionRecord.model_validate(row)

    async def page(self, tenant_id: str, after: str, size: int) -> AsyncIterator[CollectionRecord]:
        """Yields at most `size` collections whose identifier follows `after`, by identifier."""
        query = {"collection_id": {"$gt": after}, "deleted": False}
        async for row in self._rows(tenant_id).find(query, order=[("collection_id", 1)], limit=size):
            yield CollectionRecord.model_validate(row)

    async def raise_seq(self, tenant_id: str, uid: str, seq: int) -> None:
        """Notes that the change `seq` is visible."""
        await self._rows(tenant_id).update({"_id": uid}, {"$max": {"seq": seq}})

    async def hide(self, tenant_id: str, uid: str) -> None:
        """Makes a collection invisible and frees its identifier."""
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
