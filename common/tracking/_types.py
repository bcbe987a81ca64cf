"""What the ledger keeps and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from common.models import BaseModel, StageUsage, TokenUsage

TOKEN_TYPE_LLM = "llm"  # noqa: S105  # a kind of token, not a secret
"""Tokens of a language model."""

TOKEN_TYPE_EMBEDDING = "embedding"  # noqa: S105  # the same
"""Tokens of an embedding model."""

TOKEN_TYPES = (TOKEN_TYPE_LLM, TOKEN_TYPE_EMBEDDING)
"""What a budget can be of."""

OPERATION_QUERY = "query"
"""A caller waits for it: a search, an answer, a turn."""

OPERATION_BATCH = "batch"
"""Nobody waits for it: ingestion."""

OPERATION_INTERNAL = "internal"
"""Asked by another server of the mesh."""

OPERATIONS = (OPERATION_QUERY, OPERATION_BATCH, OPERATION_INTERNAL)
"""What tokens are consumed for."""

DAY = "day"
MONTH = "month"
PERIODS = (DAY, MONTH)
"""How long a budget is for, in UTC."""

GROUPS = ("day", "model", "token_type", "operation", "provider")
"""What totals can be grouped by."""


@dataclass(frozen=True)
class UsageEntry:
    """What one step consumed, before it is a row.

    Attributes:
        idempotency_key: Of the step, unique in its tenant: a key counts once. Say what asked and which step:
            `{request_id}/answer`.
        token_type: One of TOKEN_TYPES.
        operation: One of OPERATIONS.
        stage: query_embedding, ingestion_embedding, rewriting, answer, …
        provider: groq, openai, ollama, embedded, …
        total_tokens: Input and output together; what a budget is charged. 0 for their sum.
        estimated: Whether somebody guessed, for the provider counted nothing.
        metadata: Anything else worth keeping: names and plain values.
    """

    idempotency_key: str
    token_type: str
    operation: str
    stage: str = ""
    provider: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0
    estimated: bool = False
    session_id: str = ""
    agent_id: str = ""
    request_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        usage: TokenUsage | StageUsage,
        *,
        idempotency_key: str,
        token_type: str,
        operation: str,
        stage: str = "",
        session_id: str = "",
        agent_id: str = "",
        request_id: str = "",
    ) -> UsageEntry:
        """Returns the entry of a usage as providers report it. A step's own stage is kept where none is given."""
        return cls(
            idempotency_key=idempotency_key,
            token_type=token_type,
            operation=operation,
            stage=stage or getattr(usage, "stage", ""),
            provider=usage.provider,
            model=usage.model,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            total_tokens=usage.total_tokens,
            estimated=usage.estimated,
            session_id=session_id,
            agent_id=agent_id,
            request_id=request_id,
        )


class LedgerRow(BaseModel):
    """One row of the ledger. Written once, never changed.

    Attributes:
        cost_nano_usd: By the price table of the time, in thousand-millionths of a US dollar, so that sums are exact.
        created_at: Milliseconds since the epoch.
        day: Of `created_at`, in UTC, YYYY-MM-DD.
        position: Sorts rows by time, and by chance within a millisecond; unique.
        lease: The part of a budget it was charged to; empty where its tier has no budget. See common.tracking._budget.
    """

    tenant_id: str
    idempotency_key: str
    token_type: str
    operation: str
    stage: str = ""
    provider: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0
    estimated: bool = False
    cost_nano_usd: int = 0
    session_id: str = ""
    agent_id: str = ""
    request_id: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: int
    day: str
    position: str
    lease: str = ""

    @property
    def cost_usd(self) -> float:
        """The cost in US dollars."""
        return self.cost_nano_usd / 1e9


@dataclass
class Reservation:
    """Tokens of a tenant's budget that are kept for one call until it commits or releases.

    Attributes:
        budgeted: False where the tenant's tier has no budget for these tokens; nothing is kept then.
        open: True until it was committed or released; doing either again changes nothing.
    """

    tenant_id: str
    key: str
    token_type: str
    tokens: int
    budgeted: bool
    open: bool = True


@dataclass(frozen=True)
class Totals:
    """Sums over rows. `estimated` is true where one of them was."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    cost_nano_usd: int = 0
    records: int = 0

    @property
    def cost_usd(self) -> float:
        """The cost in US dollars."""
        return self.cost_nano_usd / 1e9


@dataclass(frozen=True)
class Group:
    """The sums of the rows that have the same values of what was grouped by: `key["day"]`, `key["model"]`, …"""

    key: dict[str, str]
    totals: Totals


@dataclass(frozen=True)
class UsageReport:
    """Sums over a time range: of everything, and by group, in the order of their keys."""

    totals: Totals
    groups: list[Group]


@dataclass(frozen=True)
class RecordPage:
    """Rows, the newest first. `next_page_token` is empty on the last page."""

    records: list[LedgerRow]
    next_page_token: str


@dataclass(frozen=True)
class BudgetStatus:
    """A budget as it stands.

    Attributes:
        limit: Tokens; 0 for no limit.
        used: Tokens of the period in the ledger.
        reserved: Tokens that are kept for calls in flight, and what servers hold ready for the next ones.
        remaining: What nobody has; None without a limit.
        resets_at: When the next period begins, in milliseconds since the epoch.
    """

    token_type: str
    period: str
    limit: int
    used: int
    reserved: int
    remaining: int | None
    resets_at: int
