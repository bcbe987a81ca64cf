"""Which provider and which model answer a request, and what to try when they do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from common.llm.groq_models import GROQ_MODELS, groq_id, is_groq_model, successors
from common.llm.settings import LlmSettings

_GONE_FOR_S = 600.0


@dataclass(frozen=True)
class Choice:
    """One try.

    Attributes:
        provider: groq, openai or ollama.
        model: As that provider knows it.
        notice: What to tell the reader when this one answers; empty for nothing.
    """

    provider: str
    model: str
    notice: str = ""


class Routes:
    """Resolves model ids. `configured` names the providers there are."""

    def __init__(self, settings: LlmSettings, configured: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._defaults = {"groq": settings.groq_model, "openai": settings.openai_model, "ollama": settings.ollama_model}
        self._fallback = settings.fallback
        self._configured = configured
        self._clock = clock
        self._gone: dict[tuple[str, str], float] = {}

    @property
    def default(self) -> tuple[str, str]:
        """The provider and model of a request that names none; two empty strings where nothing is configured."""
        for provider, model in self._defaults.items():
            if provider in self._configured and model:
                return provider, model
        return "", ""

    def chains(self, wanted: str) -> list[list[Choice]]:
        """Returns what to try, in order: per model its chain of successors, each asked only where the one before is gone.

        The first chain may be of a provider that is not configured; the fallbacks' are of configured ones only.
        """
        asked = self.resolve(wanted)
        chains = [self._chain(*asked, "")]
        for name in self._fallback:
            provider, model = self.resolve(name)
            if provider in self._configured and model and (provider, model) != asked:
                chains.append(self._chain(provider, model, f"The model '{asked[1]}' was not available; "))
        return chains

    def resolve(self, wanted: str) -> tuple[str, str]:
        """Returns the provider and its id of a model: an id, `provider/id`, a provider's name, or empty for the default."""
        if not wanted:
            return self.default
        if wanted in self._defaults:
            return wanted, self._defaults[wanted]
        provider, _, rest = wanted.partition("/")
        if is_groq_model(wanted) and ("groq" in self._configured or provider not in self._configured):
            return "groq", groq_id(wanted)
        if provider in self._defaults and rest:
            return provider, rest
        for name, model in self._defaults.items():
            if model == wanted and name in self._configured:
                return name, model
        # Unknown here; the provider's list changes more often than ours, so it may know better.
        return self.default[0] or "groq", wanted

    def gone(self, choice: Choice) -> None:
        """Notes that a provider no longer has a model: for a while its successor is asked at once.

        Only of those in the table, which alone have successors: callers may name as many others as they like.
        """
        if choice.provider == "groq" and choice.model in GROQ_MODELS:
            self._gone[choice.provider, choice.model] = self._clock() + _GONE_FOR_S

    def _chain(self, provider: str, model: str, instead: str) -> list[Choice]:
        names = successors(model) if provider == "groq" else [model]
        left = [name for name in names if self._gone.get((provider, name), 0.0) <= self._clock()] or names[-1:]
        return [Choice(provider, name, _notice(model, name, instead)) for name in left]


def _notice(model: str, answering: str, instead: str) -> str:
    if instead:
        return f"{instead}'{answering}' answered."
    return "" if answering == model else f"The model '{model}' is retired; its successor '{answering}' answered."
