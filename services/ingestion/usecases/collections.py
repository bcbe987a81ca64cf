"""Collections: created, read, listed, deleted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from common.context import Context
from common.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from common.models import Collection
from common.paging import DEFAULT_PAGE_SIZE, from_page_token, to_page_token
from common.store import CollectionRecord, now_ms
from services.ingestion.domain.records import collection_view
from services.ingestion.ports import Collections

_DEFAULT_LANGUAGE = "es"

CHANGEABLE = ("description", "dense_weight")
"""Fields of a collection that an update may name. The language is not one: the indexes are made for it."""


async def existing(collections: Collections, tenant_id: str, collection_id: str) -> CollectionRecord:
    """Returns a collection. Raises NotFoundError where the tenant has none of that name."""
    record = await collections.get(tenant_id, collection_id)
    if record is None:
        raise NotFoundError(
            "collection", collection_id, "Create it with POST /api/v1/collections; GET /api/v1/collections lists them."
        )
    return record


class ManageCollections:
    """What a tenant does with its collections."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    async def create(self, wanted: Collection, request_id: str, ctx: Context) -> Collection:
        """Creates a collection. Raises AlreadyExistsError unless the one there was created by the same request."""
        collection_id = wanted.collection_id
        record = CollectionRecord(
            _id=uuid.uuid4().hex,
            tenant_id=ctx.tenant_id,
            collection_id=collection_id,
            language=wanted.language or _DEFAULT_LANGUAGE,
            description=wanted.description,
            dense_weight=wanted.dense_weight,
            created_at=now_ms(),
            request_id=request_id,
        )
        if not await self._collections.add(record):
            found = await self._collections.get(ctx.tenant_id, collection_id)
            if found is None or not request_id or found.request_id != request_id:
                raise AlreadyExistsError("collection", collection_id)
            record = found
        return collection_view(record)

    async def get(self, collection_id: str, ctx: Context) -> Collection:
        """Returns a collection. Raises NotFoundError."""
        return collection_view(await existing(self._collections, ctx.tenant_id, collection_id))

    async def page(self, page_size: int, page_token: str, ctx: Context) -> tuple[list[Collection], str]:
        """Returns a page of collections and the token of the next. Raises InvalidArgumentError for a foreign token."""
        size = page_size or DEFAULT_PAGE_SIZE
        found = [record async for record in self._collections.page(ctx.tenant_id, from_page_token(page_token), size + 1)]
        token = to_page_token(found[size - 1].collection_id) if len(found) > size else ""
        return [collection_view(record) for record in found[:size]], token

    async def change(self, wanted: Collection, names: Sequence[str], ctx: Context) -> Collection:
        """Changes the named fields. Raises NotFoundError, and InvalidArgumentError for a field that cannot be changed."""
        wrong = [name for name in names if name not in CHANGEABLE]
        if wrong:
            raise InvalidArgumentError(("update_mask", f"'{name}' is not one of {', '.join(CHANGEABLE)}") for name in wrong)
        record = await existing(self._collections, ctx.tenant_id, wanted.collection_id)
        if not names:
            return collection_view(record)
        fields = {name: getattr(wanted, name) for name in names}
        changed = await self._collections.change(ctx.tenant_id, record.uid, fields)
        return collection_view(changed or await existing(self._collections, ctx.tenant_id, wanted.collection_id))

    async def delete(self, collection_id: str, ctx: Context) -> None:
        """Deletes a collection with all it holds. Raises NotFoundError."""
        record = await existing(self._collections, ctx.tenant_id, collection_id)
        await self._collections.hide(ctx.tenant_id, record.uid)
        await self._collections.purge(ctx.tenant_id, record.uid)

    async def purge_hidden(self) -> None:
        """Finishes deletions that a crash interrupted."""
        async for record in self._collections.hidden():
            await self._collections.purge(record.tenant_id, record.uid)
