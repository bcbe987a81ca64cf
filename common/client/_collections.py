"""Calls about collections."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from malla.ingestion.v1 import ingestion_pb2 as pb

from common.client._caller import Calls
from common.client._pages import pages
from common.models import Collection, CollectionResponse, CollectionsListResponse, DeleteCollectionResponse
from common.protobuf import from_message


class CollectionCalls(Calls):
    """Calls about collections."""

    async def create_collection(
        self, collection_id: str, *, language: str = "", description: str = "", request_id: str = ""
    ) -> Collection:
        """Creates a collection. Raises a MallaError of code ALREADY_EXISTS if the identifier is taken.

        Args:
            collection_id: 1 to 64 of lower-case letters, digits, '-' and '_'.
            language: Main language of the documents, ISO 639-1; empty for "es".
            description: For people.
            request_id: Idempotency key: a repeated call with it returns the collection.
        """
        request = pb.CreateCollectionRequest(
            collection_id=collection_id, language=language, description=description, request_id=request_id
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

    async def delete_collection(self, collection_id: str) -> DeleteCollectionResponse:
        """Deletes a collection and all its documents. Raises a MallaError of code NOT_FOUND if there is none."""
        request = pb.DeleteCollectionRequest(collection_id=collection_id)
        return from_message(DeleteCollectionResponse, await self._caller.unary(self._ingestion.DeleteCollection, request))
