"""Vectors of one batch of a job, counted before the batch counts as done."""

from __future__ import annotations

from collections.abc import Sequence

from common.context import Context, Tier
from common.llm.usage import estimate_tokens
from common.tracking import OPERATION_BATCH, TOKEN_TYPE_EMBEDDING, UsageEntry
from services.ingestion.domain.records import JobRecord, Vectors
from services.ingestion.ports import Embedder
from services.ingestion.usage_ports import Accounts

_STAGE = "ingestion_embedding"


class EmbedBatch:
    """Computes the vectors of a batch within the tenant's budget."""

    def __init__(self, embedder: Embedder, accounts: Accounts) -> None:
        self._embedder = embedder
        self._accounts = accounts

    async def __call__(self, job: JobRecord, batch: str, texts: Sequence[str], model: str) -> Vectors:
        """Returns the vectors; their row is durable then.

        Args:
            job: Whose batch it is.
            batch: Names the batch in the job, and with it is the key of the row: a batch that is embedded again after a crash
                counts once.
            texts: What is embedded.
            model: The model; empty for the embedding server's own.

        Raises:
            BudgetExceededError: The tenant has too few tokens left; none was spent.
            ModelNotServedError: The embedding server does not serve the model.
            MallaError: It cannot.
        """
        ctx = _context(job)
        key = f"{job.job_id}/{batch}/{_STAGE}"
        most = sum(2 * estimate_tokens(text) + 8 for text in texts)
        kept = await self._accounts.reserve(ctx, key=key, token_type=TOKEN_TYPE_EMBEDDING, tokens=most)
        try:
            vectors = await self._embedder.embed(texts, job.context, model)
        except BaseException:
            await self._accounts.release(kept)
            raise
        entry = UsageEntry.of(
            vectors.usage,
            idempotency_key=key,
            token_type=TOKEN_TYPE_EMBEDDING,
            operation=OPERATION_BATCH,
            stage=_STAGE,
            request_id=ctx.request_id,
        )
        await self._accounts.commit(kept, [entry], ctx)
        return vectors


def _context(job: JobRecord) -> Context:
    known = job.context
    tier = Tier(known.tier) if known.tier in set(Tier) else Tier.FREE
    return Context(
        tenant_id=job.tenant_id, collection_id=job.collection_id, request_id=known.request_id or job.job_id, tier=tier
    )
