"""What tokens cost."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from common.tracking._settings import Price
from common.tracking._types import UsageEntry

# US dollars per million tokens, as last seen on https://groq.com/pricing in 2025. They change: set MALLA_PRICES before anybody
# is billed. Ids with the same price share a row.
_GROQ: tuple[tuple[float, float, float | None, tuple[str, ...]], ...] = (
    (0.15, 0.60, 0.075, ("openai/gpt-oss-120b",)),
    (0.075, 0.30, 0.0375, ("openai/gpt-oss-20b", "openai/gpt-oss-safeguard-20b")),
    (0.05, 0.08, None, ("llama-3.1-8b-instant", "llama3-8b-8192")),
    (0.59, 0.79, None, ("llama-3.3-70b-versatile", "llama-3.1-70b-versatile", "llama3-70b-8192")),
    (0.59, 0.99, None, ("llama-3.3-70b-specdec",)),
    (0.11, 0.34, None, ("meta-llama/llama-4-scout-17b-16e-instruct",)),
    (0.20, 0.60, None, ("meta-llama/llama-4-maverick-17b-128e-instruct",)),
    (0.29, 0.59, None, ("qwen/qwen3-32b", "qwen/qwen3.6-27b", "qwen/qwen3.8-27b")),
    (0.29, 0.39, None, ("qwen-qwq-32b",)),
    (0.75, 0.99, None, ("deepseek-r1-distill-llama-70b",)),
    (1.00, 3.00, 0.50, ("moonshotai/kimi-k2-instruct", "moonshotai/kimi-k2-instruct-0905")),
    (0.79, 0.79, None, ("mistral-saba-24b",)),
    (0.24, 0.24, None, ("mixtral-8x7b-32768",)),
    (0.20, 0.20, None, ("gemma2-9b-it", "meta-llama/llama-guard-4-12b", "llama-guard-3-8b")),
    (0.03, 0.03, None, ("meta-llama/llama-prompt-guard-2-22m",)),
    (0.04, 0.04, None, ("meta-llama/llama-prompt-guard-2-86m",)),
)

DEFAULT_PRICES: Mapping[str, Price] = {
    f"groq:{name}": Price(input=sent, output=made, cached=cached) for sent, made, cached, names in _GROQ for name in names
}
"""The built-in prices by provider:model."""

_FREE = Price()


class PriceList:
    """Prices by provider:model pattern: the operator's first, one without a wildcard before one with, else in their order."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._exact = {**DEFAULT_PRICES, **prices}
        self._own = prices

    def price(self, provider: str, model: str) -> Price:
        """Returns the price of a model; one of zeros where nothing matches."""
        name = f"{provider}:{model}"
        if name in self._own:
            return self._own[name]
        for pattern, price in self._own.items():
            if fnmatchcase(name, pattern):
                return price
        return self._exact.get(name, _FREE)

    def cost_nano_usd(self, entry: UsageEntry) -> int:
        """Returns what an entry costs, in thousand-millionths of a US dollar. What is not output costs what input does."""
        price = self.price(entry.provider, entry.model)
        sent = max(entry.input_tokens, entry.total_tokens - entry.output_tokens)
        cached = min(entry.cached_tokens, sent)
        cached_price = price.input if price.cached is None else price.cached
        # A dollar per million tokens is a thousand nano-dollars per token.
        dollars = (sent - cached) * price.input + cached * cached_price + entry.output_tokens * price.output
        return round(dollars * 1000)
