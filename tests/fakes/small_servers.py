"""Small servers that keep what a client sends, and answer in every way a client must understand."""

from __future__ import annotations

import asyncio
import hashlib

import numpy as np
from malla.chat.v1 import event_pb2
from malla.common.v1 import citation_pb2
from malla.embedding.v1 import embedding_pb2
from malla.ingestion.v1 import ingestion_pb2 as pb
from malla.query.v1 import query_pb2

from common.context import with_context
from common.errors import (
    AlreadyExistsError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UnsupportedContentError,
)


class Ingestion:
    """Keeps what it is sent."""

    def __init__(self):
        self.collections = {}
        self.uploads = []
        self.watches = 0
        self.refuses_uploads = False

    @with_context()
    async def CreateCollection(self, request, ctx):
        if request.collection_id in self.collections:
            raise AlreadyExistsError("collection", request.collection_id)
        made = pb.Collection(collection_id=request.collection_id, language=request.language)
        self.collections[request.collection_id] = made
        return pb.CollectionResponse(collection=made)

    @with_context()
    async def ListCollections(self, request, ctx):
        names = sorted(self.collections)
        first = int(request.page_token or 0)
        after = first + 2
        page = [self.collections[name] for name in names[first:after]]
        return pb.CollectionsListResponse(collections=page, next_page_token=str(after) if after < len(names) else "")

    @with_context()
    async def UpdateCollection(self, request, ctx):
        self.updated = request
        return pb.CollectionResponse(collection=request.collection)

    @with_context()
    async def GetCollection(self, request, ctx):
        if request.collection_id not in self.collections:
            raise NotFoundError("collection", request.collection_id, "Create it.")
        return pb.CollectionResponse(collection=self.collections[request.collection_id])

    @with_context()
    async def DeleteCollection(self, request, ctx):
        self.collections.pop(request.collection_id)
        return pb.DeleteCollectionResponse()

    @with_context()
    async def CreateDocument(self, request, ctx):
        document = pb.Document(document_id=request.document_id, metadata=request.metadata, bytes=len(request.text))
        return pb.DocumentUploadResponse(document=document, job_id="job-1")

    @with_context()
    async def InternalIngest(self, request, ctx):
        return pb.InternalIngestionResponse(data=pb.InternalIngestionData(job_id="job-1"))

    async def UploadDocument(self, requests, rpc):
        if self.refuses_uploads:
            raise UnsupportedContentError("Not this one.", content_type="", supported=[])
        messages = [message async for message in requests]
        self.uploads.append(messages)
        data = b"".join(message.file.data for message in messages)
        first = messages[0]
        document = pb.Document(document_id=first.document_id, filename=first.filename, sha256=hashlib.sha256(data).hexdigest())
        return pb.DocumentUploadResponse(success=True, message="stored", document=document, job_id="job-1")

    @with_context()
    async def ListDocuments(self, request, ctx):
        row = pb.Document(document_id=f"doc-{request.page_token or 'first'}", state=pb.Document.READY)
        return pb.DocumentListResponse(documents=[row], next_page_token="" if request.page_token else "second")

    @with_context()
    async def GetDocument(self, request, ctx):
        return pb.DocumentResponse(document=pb.Document(document_id=request.document_id))

    @with_context()
    async def DeleteDocument(self, request, ctx):
        return pb.DeleteDocumentResponse(seq=9)

    @with_context()
    async def GetJob(self, request, ctx):
        return pb.JobResponse(job=pb.Job(job_id=request.job_id, state=pb.Job.RUNNING))

    @with_context()
    async def ListJobs(self, request, ctx):
        row = pb.Job(job_id=request.page_token or "first", collection_id=request.collection_id, state=request.state)
        return pb.JobListResponse(jobs=[row], next_page_token="" if request.page_token else "second")

    @with_context()
    async def ReindexCollection(self, request, ctx):
        return pb.JobResponse(job=pb.Job(job_id="move", collection_id=request.collection_id, model=request.model))

    @with_context()
    async def CancelJob(self, request, ctx):
        return pb.JobResponse(job=pb.Job(job_id=request.job_id, state=pb.Job.CANCELLED))

    @with_context()
    async def RetryJob(self, request, ctx):
        return pb.JobResponse(job=pb.Job(job_id=request.job_id, state=pb.Job.PENDING))

    @with_context()
    async def WatchJob(self, request, ctx):
        self.watches += 1
        if request.job_id == "gone":
            raise NotFoundError("job", request.job_id, "Look again.")
        yield pb.JobResponse(job=pb.Job(job_id=request.job_id, state=pb.Job.RUNNING, chunks_total=4, chunks_done=1))
        if request.job_id == "slow":
            await asyncio.sleep(60)
        if request.job_id == "interrupted" and self.watches == 1:
            raise UnavailableError("ingestion server")
        yield pb.JobResponse(job=pb.Job(job_id=request.job_id, state=pb.Job.SUCCEEDED, seq=5))


class Query:
    """Answers what it is asked, and notes whether the asker stayed."""

    def __init__(self):
        self.cancelled = asyncio.Event()
        self.seen = []
        self.lost_answers = 0  # of searches: they were made, and billed

    @with_context(collection=True)
    async def Search(self, request, ctx):
        self.seen.append(request)
        if self.lost_answers:
            self.lost_answers -= 1
            raise UnavailableError("query server")
        return query_pb2.SearchResponse(results=[query_pb2.SearchResult(document_id="a.md", score=1.5)], seq=3)

    @with_context(collection=True)
    async def Query(self, request, ctx):
        self.seen.append(request)
        return query_pb2.QueryResponse(answer="$499 [1]", citations=[citation_pb2.Citation(index=1, document_id="a.md")])

    @with_context(collection=True)
    async def StreamQuery(self, request, ctx):
        try:
            yield event_pb2.ChatEvent(sequence=1, retrieval=event_pb2.Retrieval())
            yield event_pb2.ChatEvent(sequence=2, delta=event_pb2.Delta(text="$499"))
            if request.query == "break":
                yield event_pb2.ChatEvent(sequence=3, error=event_pb2.StreamError(type="OVERLOADED"))
                raise OverloadedError("answer", retry_after_s=1.0)
            if request.query == "half":
                return
            if request.query == "long":
                await asyncio.sleep(60)
            yield event_pb2.ChatEvent(sequence=3, done=event_pb2.Done(answer="$499"))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @with_context()
    async def InternalSearch(self, request, ctx):
        self.seen.append(request)
        if self.lost_answers:
            self.lost_answers -= 1
            raise UnavailableError("query server")
        ctx.add_metric("tier", ctx.tier.value)
        raise NotFoundError("collection", request.collection_id, "Create it.")

    @with_context()
    async def InternalQuery(self, request, ctx):
        return query_pb2.InternalQueryResponse(data=query_pb2.InternalQueryData(answer="$499 [1]"))


class Embedding:
    """Embeds every text into the same vector."""

    @with_context()
    async def Embed(self, request, ctx):
        rows = [embedding_pb2.Embedding(values=[0.6, 0.8]) for _ in request.texts]
        return embedding_pb2.EmbeddingResponse(embeddings=rows, dimensions=2, model=str(request.kind))

    @with_context()
    async def InternalRerank(self, request, ctx):
        return embedding_pb2.InternalRerankResponse()

    @with_context()
    async def InternalEmbed(self, request, ctx):
        if request.texts[0] == "full":
            raise OverloadedError("embedding", retry_after_s=0.5)
        vectors = np.tile(np.array([0.6, 0.8], dtype="<f4"), (len(request.texts), 1))
        data = embedding_pb2.InternalEmbeddingData(vectors=vectors.tobytes(), dimensions=2)
        return embedding_pb2.InternalEmbeddingResponse(data=data)
