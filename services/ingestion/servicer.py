"""Converts between the contract and the use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from malla.ingestion.v1 import ingestion_pb2 as pb

from common.context import Context, with_context
from common.errors import InvalidArgumentError
from common.models import Collection, DocumentUploadMetadata, JobState
from common.protobuf import from_message, to_message
from services.ingestion.domain.formats import MARKDOWN
from services.ingestion.domain.identifiers import document_id_of_filename, document_id_of_text
from services.ingestion.usecases.collections import CHANGEABLE, ManageCollections
from services.ingestion.usecases.documents import FollowJobs, ManageDocuments
from services.ingestion.usecases.intake import Accepted, TakeDocument, Upload
from services.ingestion.usecases.jobs import ManageJobs
from services.ingestion.usecases.reindex import RequestReindex


@dataclass(frozen=True)
class UseCases:
    """What the servicers call."""

    collections: ManageCollections
    documents: ManageDocuments
    jobs: FollowJobs
    manage: ManageJobs
    take: TakeDocument
    reindex: RequestReindex


class IngestionServicer:
    """malla.ingestion.v1.IngestionService."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    @with_context(tenant=True)
    async def CreateCollection(self, request: pb.CreateCollectionRequest, ctx: Context) -> pb.CollectionResponse:
        wanted = Collection(
            collection_id=request.collection_id,
            language=request.language,
            description=request.description,
            dense_weight=request.dense_weight if request.HasField("dense_weight") else None,
        )
        made = await self._use.collections.create(wanted, request.request_id, ctx)
        return pb.CollectionResponse(message="collection created", collection=to_message(made, pb.Collection))

    @with_context(tenant=True)
    async def ListCollections(self, request: pb.ListCollectionsRequest, ctx: Context) -> pb.CollectionsListResponse:
        found, token = await self._use.collections.page(request.page_size, request.page_token, ctx)
        return pb.CollectionsListResponse(collections=[to_message(c, pb.Collection) for c in found], next_page_token=token)

    @with_context(tenant=True)
    async def GetCollection(self, request: pb.GetCollectionRequest, ctx: Context) -> pb.CollectionResponse:
        found = await self._use.collections.get(request.collection_id, ctx)
        return pb.CollectionResponse(collection=to_message(found, pb.Collection))

    @with_context(tenant=True)
    async def UpdateCollection(self, request: pb.UpdateCollectionRequest, ctx: Context) -> pb.CollectionResponse:
        # AIP-134: without a mask, what was sent is what changes.
        sent = [field.name for field, _ in request.collection.ListFields() if field.name in CHANGEABLE]
        wanted = from_message(Collection, request.collection).model_copy(update={"collection_id": request.collection_id})
        changed = await self._use.collections.change(wanted, list(request.update_mask.paths) or sent, ctx)
        return pb.CollectionResponse(message="collection changed", collection=to_message(changed, pb.Collection))

    @with_context(tenant=True)
    async def DeleteCollection(self, request: pb.DeleteCollectionRequest, ctx: Context) -> pb.DeleteCollectionResponse:
        await self._use.collections.delete(request.collection_id, ctx)
        return pb.DeleteCollectionResponse(message="collection deleted")

    @with_context(tenant=True, collection=True)
    async def ReindexCollection(self, request: pb.ReindexCollectionRequest, ctx: Context) -> pb.JobResponse:
        job = await self._use.reindex(ctx.collection_id, request.model, request.request_id, ctx)
        message = f"the vectors are computed with '{job.model}'; the old ones are searched until the job has succeeded"
        return pb.JobResponse(message=message, job=to_message(job, pb.Job))

    @with_context(tenant=True, collection=True)
    async def CreateDocument(self, request: pb.CreateDocumentRequest, ctx: Context) -> pb.DocumentUploadResponse:
        accepted = await take_text(self._use.take, request, ctx)
        return pb.DocumentUploadResponse(
            message=_acknowledgement(accepted, ctx),
            document=to_message(accepted.document, pb.Document),
            job_id=accepted.job_id,
        )

    @with_context(tenant=True)
    async def UploadDocument(
        self, requests: AsyncIterator[pb.UploadDocumentRequest], ctx: Context
    ) -> pb.DocumentUploadResponse:
        first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidArgumentError([("", "an upload needs at least one message")])
        upload = _upload_of(first)
        ctx.collection_id = upload.collection_id
        accepted = await self._use.take(upload, _pieces(first, requests), ctx)
        return pb.DocumentUploadResponse(
            message=_acknowledgement(accepted, ctx),
            document=to_message(accepted.document, pb.Document),
            job_id=accepted.job_id,
        )

    @with_context(tenant=True, collection=True)
    async def ListDocuments(self, request: pb.ListDocumentsRequest, ctx: Context) -> pb.DocumentListResponse:
        found, token = await self._use.documents.page(ctx.collection_id, request.page_size, request.page_token, ctx)
        return pb.DocumentListResponse(documents=[to_message(d, pb.Document) for d in found], next_page_token=token)

    @with_context(tenant=True, collection=True)
    async def GetDocument(self, request: pb.GetDocumentRequest, ctx: Context) -> pb.DocumentResponse:
        found = await self._use.documents.get(ctx.collection_id, request.document_id, ctx)
        return pb.DocumentResponse(document=to_message(found, pb.Document))

    @with_context(tenant=True, collection=True)
    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, ctx: Context) -> pb.DeleteDocumentResponse:
        seq = await self._use.documents.delete(ctx.collection_id, request.document_id, ctx)
        return pb.DeleteDocumentResponse(message="document deleted", seq=seq)

    @with_context(tenant=True)
    async def GetJob(self, request: pb.GetJobRequest, ctx: Context) -> pb.JobResponse:
        job = await self._use.jobs.get(request.job_id, ctx)
        return pb.JobResponse(job=to_message(job, pb.Job))

    @with_context(tenant=True)
    async def WatchJob(self, request: pb.WatchJobRequest, ctx: Context) -> AsyncIterator[pb.JobResponse]:
        async for job in self._use.jobs.watch(request.job_id, ctx):
            yield pb.JobResponse(job=to_message(job, pb.Job))

    @with_context(tenant=True)
    async def ListJobs(self, request: pb.ListJobsRequest, ctx: Context) -> pb.JobListResponse:
        state = JobState(pb.Job.State.Name(request.state))
        found, token = await self._use.manage.page(request.collection_id, state, request.page_size, request.page_token, ctx)
        return pb.JobListResponse(jobs=[to_message(job, pb.Job) for job in found], next_page_token=token)

    @with_context(tenant=True)
    async def CancelJob(self, request: pb.CancelJobRequest, ctx: Context) -> pb.JobResponse:
        job = await self._use.manage.cancel(request.job_id, ctx)
        return pb.JobResponse(message="job cancelled", job=to_message(job, pb.Job))

    @with_context(tenant=True)
    async def RetryJob(self, request: pb.RetryJobRequest, ctx: Context) -> pb.JobResponse:
        job = await self._use.manage.retry(request.job_id, ctx)
        return pb.JobResponse(message="job waits for a worker", job=to_message(job, pb.Job))


class InternalIngestionServicer:
    """malla.ingestion.v1.InternalIngestionService."""

    def __init__(self, take: TakeDocument) -> None:
        self._take = take

    @with_context(tenant=True, collection=True)
    async def InternalIngest(self, request: pb.CreateDocumentRequest, ctx: Context) -> pb.InternalIngestionResponse:
        accepted = await take_text(self._take, request, ctx)
        document = to_message(accepted.document, pb.Document)
        return pb.InternalIngestionResponse(
            message=_acknowledgement(accepted, ctx),
            data=pb.InternalIngestionData(document=document, job_id=accepted.job_id),
        )


async def take_text(take: TakeDocument, request: pb.CreateDocumentRequest, ctx: Context) -> Accepted:
    """Takes the text of a request in as a document."""
    if not request.text.strip():
        raise InvalidArgumentError([("text", "must hold more than white space")])
    metadata = from_message(DocumentUploadMetadata, request.metadata)
    upload = Upload(
        collection_id=ctx.collection_id,
        document_id=request.document_id or document_id_of_text(request.text),
        metadata=metadata.model_copy(update={"content_type": metadata.content_type or MARKDOWN}),
        request_id=request.request_id,
    )
    return await take(upload, _one(request.text.encode()), ctx)


def _upload_of(first: pb.UploadDocumentRequest) -> Upload:
    missing = [(name, "must not be empty") for name in ("collection_id", "filename") if not getattr(first, name)]
    if missing:
        raise InvalidArgumentError(missing)
    metadata = from_message(DocumentUploadMetadata, first.metadata)
    declared = metadata.content_type or first.file.content_type
    upload = Upload(
        collection_id=first.collection_id,
        document_id=first.document_id or document_id_of_filename(first.filename),
        filename=first.filename,
        metadata=metadata,
        request_id=first.request_id,
    )
    return replace(upload, metadata=metadata.model_copy(update={"content_type": declared}))


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _pieces(first: pb.UploadDocumentRequest, rest: AsyncIterator[pb.UploadDocumentRequest]) -> AsyncIterator[bytes]:
    yield first.file.data
    async for request in rest:
        yield request.file.data


def _acknowledgement(accepted: Accepted, ctx: Context) -> str:
    ctx.add_metric("duplicate", accepted.duplicate)
    if accepted.duplicate:
        return "already received; nothing to do"
    return "document stored; it is searchable when its job has succeeded"
