"""Documents and jobs: read, listed, deleted, followed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from common.context import Context
from common.errors import NotFoundError, UnavailableError
from common.models import Document, Job
from common.paging import DEFAULT_PAGE_SIZE, filled, from_page_token, to_page_token
from common.store import ChangeRecord
from services.ingestion.domain.records import DocumentRecord, JobRecord
from services.ingestion.ports import Collections, Documents, Jobs
from services.ingestion.usecases.collections import existing
from services.ingestion.usecases.news import JobNews, within
from services.ingestion.usecases.publish import Publish, Retire

# A job's changes are shown at most so often, and looked for so often where no worker of this process tells of them.
_WATCH_LEAST_S, _WATCH_FIRST_S, _WATCH_MOST_S = 0.1, 1.0, 1.0
_WATCH_REPEAT_S = 15.0


class ManageDocuments:
    """What a tenant does with its documents."""

    def __init__(self, collections: Collections, documents: Documents, publish: Publish, retire: Retire) -> None:
        self._collections = collections
        self._documents = documents
        self._publish = publish
        self._retire = retire

    async def get(self, collection_id: str, document_id: str, ctx: Context) -> Document:
        """Returns a document. Raises NotFoundError."""
        collection = await existing(self._collections, ctx.tenant_id, collection_id)
        return (await self._existing(ctx.tenant_id, collection.uid, document_id)).view()

    async def page(self, collection_id: str, page_size: int, page_token: str, ctx: Context) -> tuple[list[Document], str]:
        """Returns a page of documents and the token of the next. Raises NotFoundError, InvalidArgumentError."""
        collection = await existing(self._collections, ctx.tenant_id, collection_id)
        size = page_size or DEFAULT_PAGE_SIZE
        after = from_page_token(page_token)

        def read(last: DocumentRecord | None, count: int) -> AsyncIterator[DocumentRecord]:
            return self._documents.page(ctx.tenant_id, collection.uid, after if last is None else last.document_id, count)

        found, is_more = await filled(read, size)
        return [record.view() for record in found], to_page_token(found[-1].document_id) if is_more else ""

    async def delete(self, collection_id: str, document_id: str, ctx: Context) -> int:
        """Deletes a document and returns the change number at which it was gone. Raises NotFoundError."""
        collection = await existing(self._collections, ctx.tenant_id, collection_id)
        await self._existing(ctx.tenant_id, collection.uid, document_id)
        version = await self._documents.next_version(ctx.tenant_id, collection, document_id)
        gone = ChangeRecord(seq=0, document_id=document_id, version=version, deleted=True)
        change = await self._publish(ctx.tenant_id, collection.uid, gone)
        await self._documents.unlist(ctx.tenant_id, collection.uid, document_id, change)
        await self._collections.raise_seq(ctx.tenant_id, collection.uid, change)
        await self._retire(ctx.tenant_id, collection.uid, document_id, version)
        return change.seq

    async def _existing(self, tenant_id: str, collection_uid: str, document_id: str) -> DocumentRecord:
        record = await self._documents.get(tenant_id, collection_uid, document_id)
        if record is None:
            raise NotFoundError("document", document_id, "GET /api/v1/collections/{collection_id}/documents lists them.")
        return record


class FollowJobs:
    """What a tenant sees of its jobs."""

    def __init__(self, jobs: Jobs, news: JobNews | None = None) -> None:
        self._jobs = jobs
        self._news = news or JobNews()
        self._draining = False

    def drain(self) -> None:
        """Ends every watch: a job may take longer than any grace time, and a watcher asks again."""
        self._draining = True
        self._news.tell_all()

    async def get(self, job_id: str, ctx: Context) -> Job:
        """Returns a job. Raises NotFoundError."""
        return (await self._existing(ctx.tenant_id, job_id)).view()

    async def watch(self, job_id: str, ctx: Context) -> AsyncIterator[Job]:
        """Yields a job now, at each change, every 15 s of silence, and last when nothing more will happen to it.

        Raises NotFoundError, and UnavailableError when the server stops before that.
        """
        shown: Job | None = None
        shown_at, patience_s = 0.0, 0.0
        with self._news.followed(job_id) as heard:
            job = self._news.fresh(ctx.tenant_id, job_id) or await self._existing(ctx.tenant_id, job_id)
            while True:
                view = job.view()
                patience_s = min(_WATCH_MOST_S, 2 * patience_s or _WATCH_FIRST_S)
                # A lease that is renewed, or a try that is noted, changes nothing that a caller sees but the time.
                told_of = view.model_copy(update={"updated_at": None})
                if told_of != shown or time.monotonic() - shown_at > _WATCH_REPEAT_S:
                    shown, shown_at = told_of, time.monotonic()
                    yield view
                if job.state.is_final:
                    return
                if self._draining:
                    raise UnavailableError("ingestion server", "It restarts and the job goes on: watch it again.")
                await within(_WATCH_LEAST_S, heard.ended)
                await within(patience_s - _WATCH_LEAST_S, heard.arrived)
                told = heard.taken()
                if told is None:
                    # The worker may run in another process: the record is the one place that knows.
                    job = await self._existing(ctx.tenant_id, job_id)
                    patience_s = patience_s if job.view() == view else 0.0
                else:
                    job, patience_s = told, _WATCH_MOST_S

    async def _existing(self, tenant_id: str, job_id: str) -> JobRecord:
        job = await self._jobs.get(tenant_id, job_id)
        if job is None:
            raise NotFoundError("job", job_id, "Use the job_id that the upload returned.")
        return job
