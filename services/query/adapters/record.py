"""The record as the query server reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from common.store import ChangeRecord, ChunkRecord, CollectionRecord, Store

Row = dict[str, Any]

_ALL_BUT_IDS = ("text", "heading", "vector", "metadata", "page", "start_offset", "end_offset", "model")
# A few documents are found faster one by one: the embedded database reads all chunks to find those of several.
_ONE_BY_ONE = 8


class MongoRecord:
    """Rows of `collections`, `changes` and `chunks`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def collection(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        """Returns a collection."""
        row = await self._store.rows(tenant_id, "collections").find_one({"collection_id": collection_id, "deleted": False})
        return None if row is None else CollectionRecord.model_validate(row)

    async def collections(self, tenant_id: str) -> Sequence[CollectionRecord]:
        """Returns the tenant's collections, by identifier."""
        rows = self._store.rows(tenant_id, "collections").find({"deleted": False}, order=[("collection_id", 1)])
        return [CollectionRecord.model_validate(row) async for row in rows]

    async def changes_after(self, tenant_id: str, collection_uid: str, seq: int) -> list[ChangeRecord]:
        """Returns the changes with a number above `seq`, in order."""
        query = {"collection_uid": collection_uid, "seq": {"$gt": seq}}
        rows = self._store.rows(tenant_id, "changes").find(query, order=[("seq", 1)])
        return [ChangeRecord.model_validate(row) async for row in rows]

    async def change(self, tenant_id: str, collection_uid: str, seq: int) -> ChangeRecord | None:
        """Returns the change with a number."""
        row = await self._store.rows(tenant_id, "changes").find_one({"collection_uid": collection_uid, "seq": seq})
        return None if row is None else ChangeRecord.model_validate(row)

    async def chunks_of(
        self, tenant_id: str, collection_uid: str, versions: Mapping[str, int]
    ) -> Mapping[str, Sequence[ChunkRecord]]:
        """Returns the chunks of one version of each document, in order, by document; nothing for a version that has none."""
        found: defaultdict[str, list[ChunkRecord]] = defaultdict(list)
        async for row in self._chunks(tenant_id, collection_uid, versions):
            found[row["document_id"]].append(ChunkRecord.model_validate(row))
        return found

    async def chunk_ids(self, tenant_id: str, collection_uid: str, versions: Mapping[str, int]) -> Sequence[str]:
        """Returns the identifiers of the chunks of one version of each document."""
        rows = self._chunks(tenant_id, collection_uid, versions, omit=_ALL_BUT_IDS)
        return [str(row["chunk_id"]) async for row in rows]

    async def _chunks(
        self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], omit: Sequence[str] = ()
    ) -> AsyncIterator[Row]:
        rows = self._store.rows(tenant_id, "chunks")
        if len(versions) <= _ONE_BY_ONE:
            for name, version in versions.items():
                query = {"collection_uid": collection_uid, "document_id": name, "version": version}
                async for row in rows.find(query, order=[("ordinal", 1)], omit=omit):
                    yield row
            return
        query = {"collection_uid": collection_uid, "document_id": {"$in": list(versions)}}
        async for row in rows.find(query, order=[("document_id", 1), ("version", 1), ("ordinal", 1)], omit=omit):
            if row["version"] == versions[row["document_id"]]:
                yield row
