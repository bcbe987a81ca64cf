"""Failures that only searching knows."""

from __future__ import annotations

from common.errors import Code, MallaError


class ModelNotServedError(MallaError):
    """The embedding server does not serve the model that a collection's vectors are of."""

    code = Code.FAILED_PRECONDITION
    reason = "MODEL_NOT_SERVED"

    def __init__(self, model: str, collection_id: str, said: str) -> None:
        super().__init__(
            f"The vectors of the collection '{collection_id}' are of the embedding model '{model}'. {said} Serve it again, or "
            f"change the collection's model: malla reindex --collection {collection_id}",
            details={"model": model, "collection_id": collection_id},
        )
