"""The one door to language models: any model id in, deltas out."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import TracebackType

from common.llm.breaker import Breaker
from common.llm.catalog import Catalog
from common.llm.checks import KeyStatus, LlmStatus, check_answer, verify_key
from common.llm.errors import LlmError, LlmNotConfiguredError, ModelNotFoundError
from common.llm.providers import groq_provider, ollama_provider, openai_provider
from common.llm.resilience import ResilientProvider, RetryPolicy
from common.llm.routing import Choice, Routes
from common.llm.settings import LlmSettings
from common.llm.types import Generation, GenerationEnd, ModelInfo, Provider, Stream
from common.models import TokenUsage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completion:
    """A whole answer."""

    text: str
    usage: TokenUsage
    model: str
    finish_reason: str
    notice: str = ""

    @property
    def content(self) -> str:
        """The text, under the name OpenAI's clients give it."""
        return self.text


class LlmRouter:
    """Picks the provider of a model, follows retired models to their successors and falls back before the first token.

    One for a process; it holds the connections. Use it as an async context manager or call `aclose`.
    """

    def __init__(self, settings: LlmSettings | None = None, providers: Mapping[str, Provider] | None = None) -> None:
        self._settings = settings or LlmSettings()
        made = made_providers(self._settings) if providers is None else providers
        self._providers = {name: _resilient(provider, self._settings) for name, provider in made.items()}
        self._routes = Routes(self._settings, self._providers.keys())
        self._catalog = Catalog(self._providers)

    @property
    def available(self) -> bool:
        """Whether any model is configured; without one, answers are quotes."""
        return bool(self._routes.default[0])

    @property
    def provider(self) -> str:
        """The provider of a request that names no model; empty where nothing is configured."""
        return self._routes.default[0]

    @property
    def model(self) -> str:
        """The model of a request that names none, as it will be asked for; empty where nothing is configured."""
        return self.resolve("").model

    def resolve(self, model: str) -> Choice:
        """Returns what a request for `model` asks first, with the notice of a retired one. Raises nothing."""
        return self._routes.chains(model)[0][0]

    async def stream(self, request: Generation) -> AsyncGenerator[str | GenerationEnd, None]:
        """Yields deltas, then one GenerationEnd. Raises the errors of common.llm.errors; the first one where all tries fail."""
        first: LlmError | None = None
        for chain in self._routes.chains(request.model):
            for choice in chain:
                # The one asked for was looked at by who asks; a caller of a lower tier gets no better model because it fails.
                if first is not None and request.allows is not None and not request.allows(choice.provider, choice.model):
                    continue
                begun = False
                try:
                    async with aclosing(self._asked(choice, request)) as pieces:
                        async for piece in pieces:
                            begun = True
                            yield replace(piece, notice=choice.notice) if isinstance(piece, GenerationEnd) else piece
                    return
                except LlmError as error:
                    if begun or not error.falls_back:
                        raise
                    first = first or error
                    _log.warning("%s did not answer: %s", choice.provider, error.reason, extra={"model": choice.model})
                    if not isinstance(error, ModelNotFoundError):
                        break
                    self._routes.gone(choice)
        raise first or LlmNotConfiguredError(provider="groq", model=request.model)

    def _asked(self, choice: Choice, request: Generation) -> Stream:
        provider = self._providers.get(choice.provider)
        if provider is None or not choice.model:
            raise LlmNotConfiguredError(provider=choice.provider or "groq", model=request.model)
        return provider.stream(replace(request, model=choice.model))

    async def complete(self, request: Generation) -> Completion:
        """Returns the whole answer. Raises what `stream` raises."""
        texts: list[str] = []
        async with aclosing(self.stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, GenerationEnd):
                    return Completion("".join(texts), piece.usage, piece.model, piece.finish_reason, piece.notice)
                texts.append(piece)
        raise RuntimeError("the provider ended without a GenerationEnd")

    async def models(self) -> list[ModelInfo]:
        """Returns the live lists merged with GROQ_MODELS; never fails: a provider that is down is told from the table."""
        return await self._catalog.models()

    def lacks(self, choice: Choice) -> bool:
        """Returns whether the provider is known not to have the model, by the list that `models` read last. Asks nobody."""
        return self._catalog.lacks(choice.provider, choice.model)

    async def check(self, model: str = "") -> LlmStatus:
        """Asks a model for one token and says how long it took. Never fails: a failure is told in the result."""
        return await check_answer(self.stream, self.resolve(model))

    async def verify_key(self) -> KeyStatus:
        """Says whether the key of the default provider is present, well-formed and accepted. Costs no tokens, never fails."""
        return await verify_key(self._settings, self._providers, self.provider or "groq")

    async def aclose(self) -> None:
        """Closes all connections."""
        for provider in self._providers.values():
            await provider.aclose()

    async def __aenter__(self) -> LlmRouter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def made_providers(settings: LlmSettings) -> dict[str, Provider]:
    """Returns the providers that are configured, by name."""
    made = (groq_provider(settings), openai_provider(settings), ollama_provider(settings))
    return {provider.name: provider for provider in made if provider is not None}


def _resilient(provider: Provider, settings: LlmSettings) -> ResilientProvider:
    return ResilientProvider(
        provider,
        RetryPolicy(settings.llm_retries, settings.llm_retry_base_s, settings.llm_retry_max_s),
        Breaker(provider.name, settings.llm_breaker_failures, settings.llm_breaker_open_s),
    )
