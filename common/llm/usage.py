"""Tokens of a generation: as counted by the provider, or estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.llm.types import Message
from common.models import TokenUsage

# Bytes of UTF-8 to a token: between English (about 4) and Spanish (about 3.5) with the vocabularies of current models.
_BYTES_PER_TOKEN = 3.7
# Role and separators.
_TOKENS_PER_MESSAGE = 4
# What the contract's numbers hold: a count beyond them would fail the answer it belongs to, one below 0 give a budget back.
_MOST_TOKENS = 2**31 - 1


def estimate_tokens(text: str) -> int:
    """Returns about how many tokens a text has; 0 for none."""
    return -int(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def estimate_prompt_tokens(messages: Sequence[Message]) -> int:
    """Returns about how many tokens a prompt has."""
    return sum(estimate_tokens(message.content) + _TOKENS_PER_MESSAGE for message in messages)


def estimated_usage(provider: str, model: str, messages: Sequence[Message], answer: str) -> TokenUsage:
    """Returns the usage of a generation that was cut short, or whose provider counts nothing."""
    return _usage(provider, model, estimate_prompt_tokens(messages), estimate_tokens(answer), estimated=True)


def counted_usage(provider: str, model: str, counts: Mapping[str, Any]) -> TokenUsage:
    """Returns the usage a provider sent. Raises TypeError or ValueError where it is none, as where its numbers cannot be."""
    cached = int((counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    usage = _usage(provider, model, int(counts["prompt_tokens"]), int(counts.get("completion_tokens") or 0))
    if not (0 <= cached <= usage.input_tokens and usage.output_tokens >= 0 and usage.total_tokens <= _MOST_TOKENS):
        raise ValueError("counts of tokens that no generation has")
    usage.cached_tokens = cached
    return usage


def _usage(provider: str, model: str, sent: int, made: int, *, estimated: bool = False) -> TokenUsage:
    return TokenUsage(
        input_tokens=sent, output_tokens=made, total_tokens=sent + made, estimated=estimated, provider=provider, model=model
    )
