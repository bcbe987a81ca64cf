"""The two functions the RAG platform's callers know."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager

from common.llm.groq_models import groq_id
from common.llm.router import Completion, LlmRouter
from common.llm.settings import LlmSettings
from common.llm.types import Generation, GenerationEnd, Message

MessageLike = Message | Mapping[str, str]
"""A Message or {"role": …, "content": …}."""


class GroqModel:
    """A model with its temperature. Without a router of its own it connects for each call."""

    def __init__(
        self, model: str, temperature: float | None, max_tokens: int, router: LlmRouter | None, settings: LlmSettings | None
    ) -> None:
        self.model = model
        self.temperature = temperature
        self.max_tokens = max_tokens
        self._router = router
        self._settings = settings

    async def chat(self, messages: Iterable[MessageLike]) -> Completion:
        """Returns the whole answer. Raises the errors of common.llm.errors."""
        async with self._open() as router:
            return await router.complete(self._generation(messages))

    async def stream(self, messages: Iterable[MessageLike]) -> AsyncGenerator[str | GenerationEnd, None]:
        """Yields deltas, then one GenerationEnd. Raises the errors of common.llm.errors."""
        async with self._open() as router, aclosing(router.stream(self._generation(messages))) as pieces:
            async for piece in pieces:
                yield piece

    def _generation(self, messages: Iterable[MessageLike]) -> Generation:
        return Generation(self.model, [_message(row) for row in messages], self.temperature, self.max_tokens)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[LlmRouter]:
        if self._router is not None:
            yield self._router
        else:
            async with LlmRouter(self._settings) as router:
                yield router


def get_groq_llm_model(
    model: str = "",
    temperature: float | None = None,
    max_tokens: int = 0,
    *,
    router: LlmRouter | None = None,
    settings: LlmSettings | None = None,
) -> GroqModel:
    """Returns a Groq model; what is left out comes from the settings (GROQ_MODEL, GROQ_TEMPERATURE, GROQ_MAX_TOKENS).

    Args:
        model: Any of Groq's ids; a retired one is answered by its successor, with a notice.
        temperature: 0 to 2.
        max_tokens: The longest answer in tokens.
        router: Where to send it; share one to keep connections open. Without it each call opens its own.
        settings: Of the router made where none is given; read from the environment where left out.
    """
    return GroqModel(f"groq/{groq_id(model)}" if model else "groq", temperature, max_tokens, router, settings)


async def stream_groq_response(
    messages: Iterable[MessageLike],
    model: str = "",
    temperature: float | None = None,
    max_tokens: int = 0,
    *,
    router: LlmRouter | None = None,
    settings: LlmSettings | None = None,
) -> AsyncGenerator[str | GenerationEnd, None]:
    """Yields the deltas of a Groq model's answer, then one GenerationEnd with the usage.

    Raises the errors of common.llm.errors. The arguments are those of `get_groq_llm_model`.
    """
    llm = get_groq_llm_model(model, temperature, max_tokens, router=router, settings=settings)
    async with aclosing(llm.stream(messages)) as pieces:
        async for piece in pieces:
            yield piece


def _message(row: MessageLike) -> Message:
    return row if isinstance(row, Message) else Message(row["role"], row["content"])
