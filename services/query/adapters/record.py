"""The record as the query server reads it."""

from __future__ import annotations

from common.store import ChangeRecord, ChunkRecord, CollectionRecord, Store


class MongoRecord:
    """Rows of `collections`, `changes` and `chunks`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def collection(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        """Returns a collection."""
        row = await self._store.rows(tenant_id, "collections").find_one({"collection_id": collection_id, "deleted": False})
        return None if row is None else CollectionRecord.model_validate(row)

    async def changes_after(self, tenant_id: str, collection_uid: str, seq: int) -> list[ChangeRecord]:
        """Returns the changes with a number above `seq`, in order."""
        query = {"collection_uid": collection_uid, "seq": {"$gt": seq}}
        rows = self._store.rows(tenant_id, "changes").find(query, order=[("seq", 1)])
        return [ChangeRecord.model_validate(row) async for row in rows]

    async def chunks(self, tenant_id: str, collection_uid: str, document_id: str, version: int) -> list[ChunkRecord]:
        """Returns the chunks of one version of a document, in order."""
        query = {"collection_uid": collection_uid, "document_id": document_id, "version": version}
        rows = self._store.rows(tenant_id, "chunks").find(query, order=[("ordinal", 1)])
        return [ChunkRecord.model_validate(row) async for row in rows]
