"""The one function for every provider, as the RAG platform's callers know it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from common.context import Context, Tier, current_context
from common.models import StageUsage, TokenUsage
from common.tracking._types import OPERATION_QUERY, TOKEN_TYPE_LLM, LedgerRow, UsageEntry

if TYPE_CHECKING:
    from common.tracking._accounting import Accounting

_PROVIDERS = ("groq", "openai", "ollama", "embedded", "extractive")
_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "total_tokens")

_current: ContextVar[Accounting | None] = ContextVar("malla_accounting", default=None)


@contextmanager
def use_accounting(accounting: Accounting) -> Iterator[Accounting]:
    """Makes an Accounting the one that `track_token_usage` writes to, for this task and those it starts."""
    before = _current.get()
    _current.set(accounting)
    try:
        yield accounting
    finally:
        # Not by token: a test fixture may begin and end in different contexts.
        _current.set(before)


async def track_token_usage(
    tenant_id: str,
    tokens: int | TokenUsage | StageUsage | Mapping[str, int],
    model: str,
    token_type: str = TOKEN_TYPE_LLM,
    operation: str = OPERATION_QUERY,
    idempotency_key: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> LedgerRow:
    """Writes what a step consumed to the ledger and returns its row: the first one where the key was used before.

    The same for every provider. Durable when it returns; the tenant's budget is charged but never refuses here. A program that
    has no accounting open has one for this call, by the settings (MONGODB_URI, MALLA_OUTBOX_DIR); one that tracks often
    enters `open_accounting` once.

    Args:
        tokens: A total, or a usage: an object or a mapping with input_tokens, output_tokens, cached_tokens, total_tokens.
        model: As the provider knows it; `provider/model` names the provider too.
        idempotency_key: Counts once in its tenant. Without one a new one is made: then a retry counts again.
        metadata: provider, stage, estimated, session_id, agent_id, request_id and tier are understood; the rest is
            kept as it is, values that JSON has no form for as text.

    Raises ValueError for no tenant, an unknown token type or operation, or what cannot be stored, as counts below 0; OSError
    where neither the database nor the disk takes the row.
    """
    facts = dict(metadata or {})
    ctx = _context(tenant_id, facts)
    provider, model = _provider(str(facts.pop("provider", "")), model)
    sent, made, cached, total = _counts(tokens)
    entry = UsageEntry(
        idempotency_key=idempotency_key or uuid.uuid4().hex,
        token_type=token_type,
        operation=operation,
        stage=str(facts.pop("stage", "")),
        provider=provider,
        model=model,
        input_tokens=sent,
        output_tokens=made,
        cached_tokens=cached,
        total_tokens=total,
        estimated=bool(facts.pop("estimated", getattr(tokens, "estimated", False))),
        session_id=str(facts.pop("session_id", "")),
        agent_id=str(facts.pop("agent_id", "")),
        request_id=str(facts.pop("request_id", "")),
        metadata=facts,
    )
    async with _accounting() as accounting:
        rows = await accounting.commit(None, [entry], ctx)
    return rows[0]


@asynccontextmanager
async def _accounting() -> AsyncIterator[Accounting]:
    """The accounting that is open, or one for a single call."""
    opened = _current.get()
    if opened is not None:
        yield opened
        return
    # Not at the top: these are built on this module.
    from common.settings import StoreSettings
    from common.store import open_store
    from common.tracking._accounting import open_accounting
    from common.tracking._settings import TrackingSettings

    # Not waited for: without the database the row goes to the outbox.
    async with (
        open_store(StoreSettings(), wait=False) as store,
        open_accounting(TrackingSettings(), store, server="program") as accounting,
    ):
        yield accounting


def _context(tenant_id: str, facts: dict[str, Any]) -> Context:
    serving = current_context()
    if serving is not None and serving.tenant_id == tenant_id and "tier" not in facts:
        return serving
    return Context(tenant_id=tenant_id, tier=Tier(facts.pop("tier", Tier.FREE)))


def _provider(provider: str, model: str) -> tuple[str, str]:
    """Returns who runs a model, where its id says so, and the id without that."""
    # Not at the top: the catalogue's package loads the providers' SDKs, which servers without a language model do without.
    from common.llm.groq_models import groq_id, is_groq_model

    first, _, rest = model.partition("/")
    if provider or not rest:
        return provider or ("groq" if is_groq_model(model) else ""), model
    if is_groq_model(model):
        return "groq", groq_id(model)
    return (first, rest) if first in _PROVIDERS else ("", model)


def _counts(tokens: int | TokenUsage | StageUsage | Mapping[str, int]) -> tuple[int, int, int, int]:
    """Returns input, output, cached and total tokens."""
    if isinstance(tokens, int):
        return tokens, 0, 0, tokens
    if not isinstance(tokens, Mapping):
        return tokens.input_tokens, tokens.output_tokens, tokens.cached_tokens, tokens.total_tokens
    sent, made, cached, total = (int(tokens.get(name) or 0) for name in _COUNTS)
    return sent, made, cached, total
