"""What a tier allows of what a caller asked for: the rest is cut off, and said."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.context import Context
from common.tiers import TierSettings
from services.query.usecases.search import DEFAULT_K

Facts = dict[str, str | int | bool]


@dataclass
class Allowed:
    """What is done in place of what was asked for.

    Attributes:
        facts: What the caller should know of the difference; empty where there is none.
    """

    k: int
    max_tokens: int
    facts: Facts = field(default_factory=dict)


class Limits:
    """The limits of the tiers.

    Args:
        usual_tokens: How long an answer may be where the caller does not say.
    """

    def __init__(self, tiers: TierSettings, *, usual_tokens: int) -> None:
        self._tiers = tiers
        self._usual_tokens = usual_tokens

    def passages(self, k: int, ctx: Context) -> Allowed:
        """Returns how many passages a call may have."""
        return self.answer(k, 0, ctx)

    def answer(self, k: int, max_tokens: int, ctx: Context) -> Allowed:
        """Returns how many passages an answer may have, and how long it may be."""
        limits = self._tiers.of(ctx.tier)
        allowed = Allowed(k or DEFAULT_K, max_tokens)
        if limits.max_passages and allowed.k > limits.max_passages:
            allowed.facts |= {"k": limits.max_passages, "k_requested": allowed.k}
            allowed.k = limits.max_passages
        if limits.max_output_tokens and (max_tokens or self._usual_tokens) > limits.max_output_tokens:
            allowed.max_tokens = limits.max_output_tokens
            if max_tokens:
                allowed.facts |= {"max_tokens": limits.max_output_tokens, "max_tokens_requested": max_tokens}
        if allowed.facts:
            allowed.facts["limited_by_tier"] = ctx.tier.value
        return allowed
