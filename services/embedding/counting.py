"""Vectors for callers outside the mesh: within their budget, and counted.

Calls of the other servers are not counted here: each counts what it asks for, with what it is for.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from typing import Protocol

from common.context import Context
from common.errors import UnavailableError
from common.llm.usage import estimate_tokens
from common.models import EmbeddingKind, EmbeddingPriority
from common.tracking import OPERATION_QUERY, TOKEN_TYPE_EMBEDDING, LedgerFullError, LedgerRow, Reservation, UsageEntry
from services.embedding.usecases import Embeddings, EmbedTexts

_STAGE = "embedding"


class Accounts(Protocol):
    """Counts what calls consume; common.tracking.Accounting does."""

    async def reserve(self, ctx: Context, *, key: str, token_type: str, tokens: int) -> Reservation:
        """Keeps tokens for a call. Raises BudgetExceededError, and MallaError where usage could not be counted."""
        ...

    async def commit(
        self, reservation: Reservation | Sequence[Reservation] | None, entries: Iterable[UsageEntry], ctx: Context
    ) -> list[LedgerRow]:
        """Writes durable rows, once a key, and gives back what was kept beyond them."""
        ...

    async def release(self, reservation: Reservation | None) -> None:
        """Gives back what was kept for a call that consumed nothing."""
        ...


class CountedEmbeds:
    """Embeds the texts of a caller, and counts them."""

    def __init__(self, embed_texts: EmbedTexts, accounts: Accounts) -> None:
        self._embed_texts = embed_texts
        self._accounts = accounts

    async def __call__(
        self, texts: Sequence[str], kind: EmbeddingKind, model: str, request_id: str, ctx: Context
    ) -> Embeddings:
        """Returns the vectors; their row is durable then. `request_id` with the same texts counts once.

        Raises BudgetExceededError before anything is computed, and what EmbedTexts raises. While the database is away, budgets
        are not asked.
        """
        key = f"{_work(texts, request_id, ctx)}/{_STAGE}"
        most = sum(2 * estimate_tokens(text) + 8 for text in texts)
        kept = await self._kept(key, most, ctx)
        try:
            made = await self._embed_texts(texts, kind, model, EmbeddingPriority.INTERACTIVE, ctx)
        except BaseException:
            await self._accounts.release(kept)
            raise
        entry = UsageEntry.of(
            made.usage,
            idempotency_key=key,
            token_type=TOKEN_TYPE_EMBEDDING,
            operation=OPERATION_QUERY,
            stage=_STAGE,
            session_id=ctx.session_id,
            request_id=ctx.request_id,
        )
        await self._accounts.commit(kept, [entry], ctx)
        return made

    async def _kept(self, key: str, tokens: int, ctx: Context) -> Reservation | None:
        try:
            return await self._accounts.reserve(ctx, key=key, token_type=TOKEN_TYPE_EMBEDDING, tokens=tokens)
        except LedgerFullError:
            raise
        except UnavailableError:
            # Vectors need no record: they are computed, and counted when the database is back, rather than refused.
            ctx.add_metric("budget_checked", False)
            return None


def _work(texts: Sequence[str], request_id: str, ctx: Context) -> str:
    # Without a request_id every call is its own: callers may use one x-request-id for many.
    if not request_id:
        return f"{ctx.request_id}/{uuid.uuid4().hex[:16]}"
    return f"{request_id}/{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:16]}"
