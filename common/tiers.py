"""What a tier may do: free, pro, enterprise. One place for models, budgets, rates and limits."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from common.context import Tier
from common.settings import Settings


class TierLimits(BaseModel):
    """One tier. A limit of 0 is none.

    Attributes:
        models: Patterns of the models of the catalogue it may use, the best first. Those without a wildcard are what a call for
            another model is answered with.
        max_output_tokens: The longest answer a call may ask for.
        max_passages: The most passages (`k`) a call may ask for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ("*",)
    llm_tokens_per_day: int = Field(default=0, ge=0)
    llm_tokens_per_month: int = Field(default=0, ge=0)
    embedding_tokens_per_day: int = Field(default=0, ge=0)
    embedding_tokens_per_month: int = Field(default=0, ge=0)
    requests_per_minute: int = Field(default=600, ge=1)
    max_output_tokens: int = Field(default=0, ge=0)
    max_passages: int = Field(default=0, ge=0)

    def budget(self, token_type: str, period: str) -> int:
        """Returns the tokens of a type (llm, embedding) in a period (day, month); 0 for no limit."""
        return int(getattr(self, f"{token_type}_tokens_per_{period}"))

    def allows(self, model: str) -> bool:
        """Returns whether a model may be used. One that the catalogue does not know is the operator's own, and may."""
        # Not at the top: the catalogue's package loads the providers' SDKs, and the command line reads the tiers.
        from common.llm.groq_models import groq_id, is_groq_model

        name = groq_id(model)
        return not is_groq_model(model) or any(fnmatchcase(name, pattern) for pattern in self.models)

    @property
    def preferred(self) -> tuple[str, ...]:
        """The models named in full, the best first: what a call for another one is answered with."""
        return tuple(name for name in self.models if not set(name) & set("*?["))


_SMALL = ("openai/gpt-oss-20b", "llama-3.1-8b-instant", "allam-2-7b")
_LARGE = ("openai/gpt-oss-120b", "llama-3.3-70b-versatile")

_DEFAULTS: dict[Tier, dict[str, Any]] = {
    Tier.FREE: {
        "models": _SMALL,
        "llm_tokens_per_day": 2_000_000,
        "llm_tokens_per_month": 20_000_000,
        "embedding_tokens_per_day": 50_000_000,
        "embedding_tokens_per_month": 500_000_000,
        "requests_per_minute": 600,
        "max_output_tokens": 4_096,
        "max_passages": 20,
    },
    Tier.PRO: {
        "models": (*_LARGE, *_SMALL, "*"),
        "llm_tokens_per_day": 50_000_000,
        "llm_tokens_per_month": 500_000_000,
        "embedding_tokens_per_day": 1_000_000_000,
        "embedding_tokens_per_month": 10_000_000_000,
        "requests_per_minute": 6_000,
        "max_output_tokens": 32_768,
        "max_passages": 50,
    },
    Tier.ENTERPRISE: {"models": (*_LARGE, *_SMALL, "*"), "requests_per_minute": 60_000},
}


class TierSettings(Settings):
    """The tiers. MALLA_TIERS changes single numbers: {"free": {"llm_tokens_per_day": 100000}}."""

    tiers: dict[Tier, TierLimits] = Field(
        default_factory=dict,
        validate_default=True,
        description='Changes to the tiers, as JSON: {"free": {"llm_tokens_per_day": 100000}}. 0 is no limit.',
    )

    @field_validator("tiers", mode="before")
    @classmethod
    def _over_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        unknown = set(value) - set(_DEFAULTS)
        if unknown:
            raise ValueError(f"unknown tier {sorted(unknown)[0]!r}; there are {', '.join(_DEFAULTS)}")
        changes = {Tier(name): row.model_dump() if isinstance(row, TierLimits) else row for name, row in value.items()}
        return {tier: {**row, **changes.get(tier, {})} for tier, row in _DEFAULTS.items()}

    def of(self, tier: Tier) -> TierLimits:
        """Returns what a tier may do."""
        return self.tiers[tier]
