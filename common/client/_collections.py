"""Calls about collections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypedDict, Unpack

from google.protobuf.field_mask_pb2 import FieldMask
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.client._caller import Calls, keyed
from common.client._options import request_of
from common.client._pages import pages
from common.models import (
    Collection,
    CollectionResponse,
    CollectionsListResponse,
    DeleteCollectionResponse,
    Job,
    JobResponse,
)
from common.protobuf import from_message


class CollectionChanges(TypedDict, total=False):
    """What of a collection can be changed.

    Attributes:
        dense_weight: How much vectors count beside words, from 0 to 1; None for the server's own.
    """

    description: str
    dense_weight: float | None


class CollectionCalls(Calls):
    """Calls about collections."""

    async def create_collection(
        self,
        collection_id: str,
        *,
        language: str = "",
        description: str = "",
        dense_weight: float | None = None,
        request_id: str = "",
    ) -> Collection:
        """Creates a collection. Raises a MallaError of code ALREADY_EXISTS if the identifier is taken.

        Args:
            collection_id: 1 to 64 of lower-case letters, digits, '-' and '_'.
            language: Main language of the documents, ISO 639-1; empty for "es".
            description: For people.
            dense_weight: How much vectors count beside words, from 0 to 1; None for the server's own.
            request_id: Idempotency key: a repeated call with it returns the collection.
        """
        request = pb.CreateCollectionRequest(
            collection_id=collection_id,
            language=language,
            description=description,
            dense_weight=dense_weight,
            request_id=keyed(request_id),
        )
        response = await self._caller.unary(self._ingestion.CreateCollection, request)
        return from_message(CollectionResponse, response).collection or Collection()

    async def list_collections(self, *, page_size: int = 0) -> AsyncGenerator[Collection, None]:
        """Yields the tenant's collections by identifier, fetching page after page."""

        async def page(token: str) -> CollectionsListResponse:
            request = pb.ListCollectionsRequest(page_size=page_size, page_token=token)
            return from_message(CollectionsListResponse, await self._caller.unary(self._ingestion.ListCollections, request))

        async for response in pages(page):
            for collection in response.collections:
                yield collection

    async def get_collection(self, collection_id: str) -> Collection:
        """Reads one collection. Raises a MallaError of code NOT_FOUND if there is none."""
        request = pb.GetCollectionRequest(collection_id=collection_id)
        response = await self._caller.unary(self._ingestion.GetCollection, request)
        return from_message(CollectionResponse, response).collection or Collection()

    async def update_collection(self, collection_id: str, **changes: Unpack[CollectionChanges]) -> Collection:
        """Changes what is named, also to nothing (`dense_weight=None`). Returns it as it is then."""
        if not changes:
            return await self.get_collection(collection_id)  # an empty mask would mean "what the message holds"
        given = {name: value for name, value in changes.items() if value is not None}
        request = pb.UpdateCollectionRequest(
            collection_id=collection_id, collection=request_of(pb.Collection, given), update_mask=FieldMask(paths=list(changes))
        )
        response = await self._caller.unary(self._ingestion.UpdateCollection, request)
        return from_message(CollectionResponse, response).collection or Collection()

    async def reindex_collection(self, collection_id: str, *, model: str = "", request_id: str = "") -> Job:
        """Computes a collection's vectors anew with another embedding model; follow the job it returns with `wait_for_job`.

        Searches go on with the old vectors until all the new ones are there.

        Args:
            collection_id: The collection.
            model: The embedding model; empty for the one the embedding server uses where none is named.
            request_id: Idempotency key: a repeated call with it returns the first job.

        Raises a MallaError of code NOT_FOUND if there is no such collection or the model is not served, or FAILED_PRECONDITION
        while a job moves the collection to another model.
        """
        request = pb.ReindexCollectionRequest(collection_id=collection_id, model=model, request_id=keyed(request_id))
        response = await self._caller.unary(self._ingestion.ReindexCollection, request)
        return from_message(JobResponse, response).job or Job()

    async def delete_collection(self, collection_id: str) -> DeleteCollectionResponse:
        """Deletes a collection and all its documents. Raises a MallaError of code NOT_FOUND if there is none."""
        request = pb.DeleteCollectionRequest(collection_id=collection_id)
        return from_message(DeleteCollectionResponse, await self._caller.unary(self._ingestion.DeleteCollection, request))
