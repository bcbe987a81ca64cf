"""The models there are: the live lists over the table of Groq's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from common.llm.errors import LlmError
from common.llm.groq_models import GROQ_MODELS
from common.llm.types import ModelInfo, Provider

_log = logging.getLogger(__name__)

_FRESH_S = 60.0


class Catalog:
    """Remembers the lists for a minute."""

    def __init__(self, providers: Mapping[str, Provider], clock: Callable[[], float] = time.monotonic) -> None:
        self._providers = providers
        self._clock = clock
        self._models: list[ModelInfo] = []
        self._served: dict[str, frozenset[str]] = {}
        self._read_at = float("-inf")

    async def models(self) -> list[ModelInfo]:
        """Returns the models, served ones first. Those of other providers carry the provider before their id."""
        if self._clock() - self._read_at > _FRESH_S:
            live = {name: await _live(provider) for name, provider in self._providers.items()}
            self._models = merged(live)
            self._served |= {name: _ids(rows) for name, rows in live.items() if rows is not None}
            if all(rows is not None for rows in live.values()):
                self._read_at = self._clock()
        return list(self._models)

    def lacks(self, provider: str, model: str) -> bool:
        """Returns whether a provider's list is known and has no such model, as of when it was read last. Asks nobody."""
        served = self._served.get(provider)
        return served is not None and model not in served


def merged(live: Mapping[str, list[ModelInfo] | None]) -> list[ModelInfo]:
    """Merges lists by provider, None where one could not be had, with GROQ_MODELS."""
    rows = _groq(live.get("groq"))
    for provider, served in live.items():
        if provider != "groq":
            rows += [replace(row, id=f"{provider}/{row.id}") for row in served or ()]
    return sorted(rows, key=lambda row: not row.active)


def _ids(rows: list[ModelInfo]) -> frozenset[str]:
    return frozenset(row.id for row in rows if row.active)


def _groq(live: list[ModelInfo] | None) -> list[ModelInfo]:
    if live is None:
        return list(GROQ_MODELS.values())
    served = {row.id: _enriched(row) for row in live}
    rest = [replace(row, active=False) for row in GROQ_MODELS.values() if row.id not in served]
    return [*served.values(), *rest]


def _enriched(row: ModelInfo) -> ModelInfo:
    known = GROQ_MODELS.get(row.id)
    if known is None:
        return row
    return replace(
        known,
        active=row.active,
        context_window=row.context_window or known.context_window,
        max_output_tokens=row.max_output_tokens or known.max_output_tokens,
        owned_by=row.owned_by or known.owned_by,
    )


async def _live(provider: Provider) -> list[ModelInfo] | None:
    try:
        return await provider.models()
    except LlmError as error:
        _log.warning("no list of models from %s: %s", provider.name, error.reason)
        return None
