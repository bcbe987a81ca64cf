"""Token usage, the same for every provider and every step, and the ledger it is kept in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import Field

from common.base_model import BaseModel
from common.models.base import BaseResponse


class StageUsage(BaseModel):
    """Tokens that one step of a call consumed."""

    stage: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    provider: str = ""
    model: str = ""


class TokenUsage(BaseModel):
    """Tokens that one call consumed."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    provider: str = ""
    model: str = ""
    stages: list[StageUsage] = Field(default_factory=list)

    def as_stage(self, stage: str) -> StageUsage:
        """Returns this usage as one step of a larger call."""
        return StageUsage(stage=stage, **self.model_dump(exclude={"stages"}))

    @classmethod
    def of_stages(cls, stages: Iterable[StageUsage]) -> TokenUsage:
        """Sums steps. Provider and model are the last step's: the one that made the answer."""
        steps = list(stages)
        return cls(
            input_tokens=sum(step.input_tokens for step in steps),
            output_tokens=sum(step.output_tokens for step in steps),
            total_tokens=sum(step.total_tokens for step in steps),
            cached_tokens=sum(step.cached_tokens for step in steps),
            estimated=any(step.estimated for step in steps),
            provider=steps[-1].provider if steps else "",
            model=steps[-1].model if steps else "",
            stages=steps,
        )


class UsageTotals(BaseModel):
    """Sums over rows of the ledger."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    cost: float = 0.0
    records: int = 0


class UsageGroup(BaseModel):
    """The sums of one day, model, token type, operation, provider, or of a combination of them."""

    key: str = ""
    day: str = ""
    model: str = ""
    token_type: str = ""
    operation: str = ""
    provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    cost: float = 0.0
    records: int = 0


class Budget(BaseModel):
    """A limit for a period, and how it stands now, in tokens."""

    token_type: str = ""
    period: str = ""
    limit: int = 0
    used: int = 0
    reserved: int = 0
    remaining: int | None = None
    resets_at: datetime | None = None


class UsageResponse(BaseResponse):
    """The sums, and what is left."""

    totals: UsageTotals | None = None
    groups: list[UsageGroup] = Field(default_factory=list)
    budget: Budget | None = None
    budgets: list[Budget] = Field(default_factory=list)
    tier: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class UsageRecord(BaseModel):
    """One row of the ledger: what one step of a call consumed."""

    idempotency_key: str = ""
    token_type: str = ""
    operation: str = ""
    stage: str = ""
    provider: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    cost: float = 0.0
    session_id: str = ""
    agent_id: str = ""
    request_id: str = ""
    created_at: datetime | None = None


class UsageRecordsListResponse(BaseResponse):
    """A page of the ledger."""

    records: list[UsageRecord] = Field(default_factory=list)
    next_page_token: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
