"""The query server's ports in memory: a record that a test writes, and an embedder that knows words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.context import Context
from common.errors import NotFoundError
from common.models import EmbeddingKind, TokenUsage
from common.store import ChangeRecord, ChunkRecord, CollectionRecord
from services.query.adapters.embedder import STAGES
from services.query.ports import Vectors
from tests.fakes.engine import vector_of

DIMENSIONS = 64
MODEL = "fake-words"
OTHER_MODEL = "other-words"


def dimensions_of(model: str) -> int:
    """Returns the length of a model's vectors."""
    return 48 if model == OTHER_MODEL else DIMENSIONS


def chunk(document_id: str, version: int, ordinal: int, text: str, model: str = MODEL, **fields: Any) -> ChunkRecord:
    """Returns a chunk whose vector says which words it holds."""
    return ChunkRecord(
        chunk_id=f"{document_id}:{version}:{ordinal}",
        document_id=document_id,
        version=version,
        ordinal=ordinal,
        text=text,
        vector=vector_of(text, dimensions_of(model)).astype("<f4").tobytes(),
        model=model,
        **fields,
    )


class MemoryRecord:
    """Collections with their change logs and chunks, for each tenant apart."""

    def __init__(self) -> None:
        self._collections: dict[tuple[str, str], CollectionRecord] = {}
        self._changes: dict[str, list[ChangeRecord]] = {}
        self._chunks: dict[tuple[str, str, int], list[ChunkRecord]] = {}

    def create(
        self, collection_id: str = "manual", *, tenant: str = "acme", uid: str = "", language: str = "es"
    ) -> CollectionRecord:
        record = CollectionRecord(
            _id=uid or f"{tenant}-{collection_id}",
            tenant_id=tenant,
            collection_id=collection_id,
            language=language,
            created_at=1,
        )
        self._collections[tenant, collection_id] = record
        self._changes[record.uid] = []
        return record

    def switch(self, collection: CollectionRecord, model: str) -> None:
        """Changes the collection's embedding model: every chunk gets a vector of it, and those of the old one are gone."""
        for key, chunks in self._chunks.items():
            if key[0] == collection.uid:
                self._chunks[key] = [
                    one.model_copy(
                        update={"model": model, "vector": vector_of(one.text, dimensions_of(model)).astype("<f4").tobytes()}
                    )
                    for one in chunks
                ]
        collection.model = model
        self._append(collection, ChangeRecord(seq=0, document_id="", version=0, model=model), True)

    def publish(
        self, collection: CollectionRecord, document_id: str, version: int, *texts: str, told: bool = True, **fields: Any
    ) -> None:
        """Makes a version visible; `told` says whether the collection's row already knows."""
        made = [chunk(document_id, version, i, text, **fields) for i, text in enumerate(texts)]
        self._chunks[collection.uid, document_id, version] = made
        self._append(collection, ChangeRecord(seq=0, document_id=document_id, version=version, chunks=len(made)), told)

    def delete(self, collection: CollectionRecord, document_id: str, version: int) -> None:
        self._append(collection, ChangeRecord(seq=0, document_id=document_id, version=version, deleted=True), True)

    def retire(self, collection: CollectionRecord, document_id: str, version: int) -> None:
        """Removes the chunks of a version that a later one replaced."""
        del self._chunks[collection.uid, document_id, version]

    def _append(self, collection: CollectionRecord, change: ChangeRecord, told: bool) -> None:
        log = self._changes[collection.uid]
        change.seq = len(log) + 1
        change.model = change.model or collection.model
        log.append(change)
        if told:
            collection.seq = change.seq

    async def collection(self, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        found = self._collections.get((tenant_id, collection_id))
        return None if found is None else found.model_copy()

    async def changes_after(self, tenant_id: str, collection_uid: str, seq: int) -> list[ChangeRecord]:
        return [change for change in self._changes[collection_uid] if change.seq > seq]

    async def change(self, tenant_id: str, collection_uid: str, seq: int) -> ChangeRecord | None:
        return next((change for change in self._changes[collection_uid] if change.seq == seq), None)

    async def chunks_of(
        self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], model: str = ""
    ) -> dict[str, list[ChunkRecord]]:
        found = {name: self._chunks.get((collection_uid, name, version), []) for name, version in versions.items()}
        return {name: [chunk for chunk in chunks if model in ("", chunk.model)] for name, chunks in found.items()}

    async def chunk_ids(self, tenant_id: str, collection_uid: str, versions: Mapping[str, int], model: str = "") -> list[str]:
        found = await self.chunks_of(tenant_id, collection_uid, versions, model)
        return [chunk.chunk_id for chunks in found.values() for chunk in chunks]

    async def collections(self, tenant_id: str) -> list[CollectionRecord]:
        return [found.model_copy() for (tenant, _), found in sorted(self._collections.items()) if tenant == tenant_id]


class WordEmbedder:
    """One token a word. `failure` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[EmbeddingKind, list[str]]] = []
        self.failure: Exception | None = None
        self.served: list[str] | None = None

    async def embed(self, texts: Sequence[str], kind: EmbeddingKind, ctx: Context, model: str = "") -> Vectors:
        self.calls.append((kind, list(texts)))
        if self.failure is not None:
            raise self.failure
        used = model or MODEL
        if self.served is not None and used not in self.served:
            raise NotFoundError("model", used, f"Served: {', '.join(self.served)}.")
        tokens = sum(len(text.split()) for text in texts)
        usage = TokenUsage(input_tokens=tokens, total_tokens=tokens, provider="fake", model=used)
        ctx.add_usage(STAGES[kind], usage)
        return Vectors(np.stack([vector_of(text, dimensions_of(used)) for text in texts]), used, usage)
