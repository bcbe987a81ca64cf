"""The record as the query server reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from common.store import ChangeRecord, ChunkRecord, CollectionRecord, Store, held_name

Row = dict[str, Any]

_ALL_BUT_IDS = ("text", "heading", "vector", "metadata", "page", "start_offset", "end_offset", "model")
# Finding one document costs as much as reading so many chunks; with `$in` the embedded database reads all there are.
_CHUNKS_A_FIND = 10


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
        self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], model: str
    ) -> Mapping[str, Sequence[ChunkRecord]]:
        """Returns the chunks of one version of each document with their vectors of a model, in order, by document.

        Nothing for a version that has none; vectors of any model where none is named.
        """
        found: defaultdict[str, list[ChunkRecord]] = defaultdict(list)
        async for row in self._chunks(tenant_id, collection_uid, versions, model):
            found[row["document_id"]].append(ChunkRecord.model_validate(row))
        return found

    async def chunk_ids(self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], model: str) -> Sequence[str]:
        """Returns the identifiers of the same chunks."""
        rows = self._chunks(tenant_id, collection_uid, versions, model, omit=_ALL_BUT_IDS)
        return [str(row["chunk_id"]) async for row in rows]

    async def _chunks(
        self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], model: str, omit: Sequence[str] = ()
    ) -> AsyncIterator[Row]:
        if not versions:
            return
        rows = self._store.rows(tenant_id, "chunks")
        wanted = {"collection_uid": collection_uid, **({"model": model} if model else {})}
        first, last = min(versions, key=held_name), max(versions, key=held_name)
        between = {"collection_uid": collection_uid, "document_id": {"$gte": first, "$lte": last}}
        if len(versions) == 1 or await rows.count(between) > _CHUNKS_A_FIND * len(versions):
            for name, version in versions.items():
                query = {**wanted, "document_id": name, "version": version}
                async for row in rows.find(query, order=[("ordinal", 1)], omit=omit):
                    yield row
            return
        async for row in rows.find(
            {**wanted, **between}, order=[("document_id", 1), ("version", 1), ("ordinal", 1)], omit=omit
        ):
            if row["version"] == versions.get(row["document_id"]):
                yield row
