"""Failures that only ingestion knows."""

from __future__ import annotations

from typing import ClassVar

from common.errors import Code, MallaError
from common.models import JobState


class WorkerDiedError(MallaError):
    """Every worker that began a job died over it: it is not begun again by itself."""

    reason = "WORKER_DIED_REPEATEDLY"

    def __init__(self, times: int) -> None:
        super().__init__(
            f"The server died {times} times while it worked on this document. See `malla logs ingestion`, then retry the job.",
            details={"times": times},
        )


class DocumentTooLongError(MallaError):
    """A document's text is over the limit."""

    code = Code.INVALID_ARGUMENT
    reason = "DOCUMENT_CHARACTERS_EXCEEDED"
    detail_message = "malla.common.v1.LimitExceeded"


class JobStateError(MallaError):
    """A job's state does not allow what was asked."""

    code = Code.FAILED_PRECONDITION
    reason = "JOB_STATE"

    def __init__(self, job_id: str, state: JobState, why: str) -> None:
        super().__init__(f"The job '{job_id}' {why}", details={"job_id": job_id, "state": state.value})


class ModelNotServedError(MallaError):
    """The embedding server does not serve the model of a collection. Documents wait until it does, or the model was changed."""

    code = Code.UNAVAILABLE
    reason = "MODEL_NOT_SERVED"
    served_reason: ClassVar[str] = "MODEL_NOT_FOUND"
    """What the embedding server says."""

    def __init__(self, model: str, collection_id: str, told: MallaError) -> None:
        super().__init__(
            f"The vectors of the collection '{collection_id}' are of the embedding model '{model}'. {told.message} "
            f"Serve it again, or change the collection's model: malla reindex --collection {collection_id}",
            details={"model": model, "collection_id": collection_id},
        )
        self.told = told


class ReindexBusyError(MallaError):
    """Another job changes the collection's model: one at a time."""

    code = Code.FAILED_PRECONDITION
    reason = "REINDEX_RUNNING"

    def __init__(self, collection_id: str, job_id: str, model: str) -> None:
        super().__init__(
            f"The job '{job_id}' moves the collection '{collection_id}' to the model '{model}'. Wait for it "
            f"(malla jobs watch {job_id}) or cancel it (malla jobs cancel {job_id}) first.",
            details={"job_id": job_id, "model": model},
        )


class ReindexWaitsError(ReindexBusyError):
    """The same, found by a job that waits for its turn."""

    code = Code.ABORTED


class ModelChangedError(Exception):
    """The collection's model has changed since the chunks were made: they are made again."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model
