"""Token usage, the same for every provider and every step."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from common.models.base import BaseModel


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
