"""Calls about documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from malla.ingestion.v1 import ingestion_pb2 as pb

from common.client._caller import DEADLINE_S, UPLOAD_DEADLINE_S, Calls
from common.client._pages import pages
from common.client._uploads import Upload, send
from common.models import (
    DeleteDocumentResponse,
    Document,
    DocumentListResponse,
    DocumentResponse,
    DocumentUploadMetadata,
    DocumentUploadResponse,
)
from common.protobuf import from_message, to_message


class DocumentCalls(Calls):
    """Calls about documents."""

    async def ingest_text(
        self,
        collection_id: str,
        text: str,
        *,
        document_id: str = "",
        metadata: DocumentUploadMetadata | None = None,
        request_id: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> DocumentUploadResponse:
        """Stores a text as a document; it is searchable once the returned job has succeeded.

        Args:
            collection_id: The collection.
            text: Markdown, plain text or HTML, as `metadata.content_type` says.
            document_id: Empty for one derived from the text; an existing one gets a new version.
            metadata: What the text is.
            request_id: Idempotency key: a repeated call with it returns the first answer.
            timeout_s: Seconds the call may take.
        """
        request = pb.CreateDocumentRequest(
            collection_id=collection_id,
            text=text,
            document_id=document_id,
            metadata=to_message(metadata or DocumentUploadMetadata(), pb.DocumentUploadMetadata),
            request_id=request_id,
        )
        response = await self._caller.unary(self._ingestion.CreateDocument, request, timeout_s)
        return from_message(DocumentUploadResponse, response)

    async def upload_file(
        self,
        collection_id: str,
        source: Path | bytes,
        *,
        filename: str = "",
        document_id: str = "",
        metadata: DocumentUploadMetadata | None = None,
        request_id: str = "",
        timeout_s: float = UPLOAD_DEADLINE_S,
    ) -> DocumentUploadResponse:
        """Streams a file, in pieces of 256 KiB, and returns once it is stored; searchable once the returned job has succeeded.

        Args:
            collection_id: The collection.
            source: The file, or its bytes.
            filename: Its ending says the format; empty for the name of `source`.
            document_id: Empty for one derived from the file name; an existing one gets a new version.
            metadata: What the file is.
            request_id: Idempotency key: a repeated call with it returns the first answer.
            timeout_s: Seconds the upload may take.

        Raises:
            OSError: The file cannot be read. Nothing of it is stored.
            MallaError: The server refused it. Nothing of it is stored.
        """
        described = metadata or DocumentUploadMetadata()
        first = pb.UploadDocumentRequest(
            collection_id=collection_id,
            filename=filename or (source.name if isinstance(source, Path) else ""),
            document_id=document_id,
            metadata=to_message(described, pb.DocumentUploadMetadata),
            request_id=request_id,
        )
        first.file.content_type = described.content_type
        response = await send(self._caller, self._ingestion.UploadDocument, Upload(first, source), timeout_s)
        return from_message(DocumentUploadResponse, response)

    async def list_documents(self, collection_id: str, *, page_size: int = 0) -> AsyncGenerator[Document, None]:
        """Yields a collection's documents by identifier, fetching page after page."""

        async def page(token: str) -> DocumentListResponse:
            request = pb.ListDocumentsRequest(collection_id=collection_id, page_size=page_size, page_token=token)
            return from_message(DocumentListResponse, await self._caller.unary(self._ingestion.ListDocuments, request))

        async for response in pages(page):
            for document in response.documents:
                yield document

    async def get_document(self, collection_id: str, document_id: str) -> Document:
        """Reads one document. Raises a MallaError of code NOT_FOUND if there is none."""
        request = pb.GetDocumentRequest(collection_id=collection_id, document_id=document_id)
        response = await self._caller.unary(self._ingestion.GetDocument, request)
        return from_message(DocumentResponse, response).document or Document()

    async def delete_document(self, collection_id: str, document_id: str) -> DeleteDocumentResponse:
        """Deletes a document; searches that pass the returned `seq` as `min_seq` no longer see it."""
        request = pb.DeleteDocumentRequest(collection_id=collection_id, document_id=document_id)
        return from_message(DeleteDocumentResponse, await self._caller.unary(self._ingestion.DeleteDocument, request))
