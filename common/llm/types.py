"""What the mesh asks of a language model, and the one port behind which every provider stands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.models import TokenUsage


@dataclass(frozen=True)
class Message:
    """One message of a prompt. `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Generation:
    """What to generate.

    Attributes:
        model: As the provider knows it; given to the router, any id it can resolve, or empty for the configured model.
        messages: The prompt, oldest first.
        temperature: 0 to 2; None for the configured one.
        max_tokens: The longest answer in tokens; 0 for the configured limit.
        allows: Whether a provider's model may answer in place of the one asked for, where that fails; None for any.
    """

    model: str
    messages: Sequence[Message]
    temperature: float | None = None
    max_tokens: int = 0
    allows: Callable[[str, str], bool] | None = None


@dataclass(frozen=True)
class GenerationEnd:
    """How a generation ended; the last item of every complete stream.

    Attributes:
        finish_reason: stop, length, content_filter or tool_calls, as the provider says.
        usage: `estimated` is true where the provider sent none.
        model: The model that answered.
        notice: What the reader should know: a retired model, a fallback. Empty for nothing.
    """

    finish_reason: str
    usage: TokenUsage
    model: str
    notice: str = ""


Stream = AsyncGenerator[str | GenerationEnd, None]
"""Deltas of text, then one GenerationEnd. Closing it closes the connection to the provider."""


@dataclass(frozen=True)
class ModelInfo:
    """One model.

    Attributes:
        context_window: Tokens of prompt and answer together; 0 where unknown.
        max_output_tokens: Tokens of the longest answer; 0 where unknown.
        active: Whether it is served. A model that is active and has a `replaced_by` is on its way out: it is asked first, and
            its successor when the provider no longer has it.
        replaced_by: The id of the successor; empty for none.
        retired_on: The date from which the provider refuses it, ISO 8601; empty for none.
        provider: Who serves it.
    """

    id: str
    owned_by: str = ""
    context_window: int = 0
    max_output_tokens: int = 0
    capabilities: tuple[str, ...] = ("chat",)
    active: bool = True
    replaced_by: str = ""
    retired_on: str = ""
    provider: str = "groq"


class Provider(Protocol):
    """Someone who generates text."""

    @property
    def name(self) -> str:
        """groq, openai or ollama; also the provider of the usage."""
        ...

    def stream(self, request: Generation) -> Stream:
        """Yields deltas as they arrive, then the end. Raises the errors of common.llm.errors."""
        ...

    async def models(self) -> list[ModelInfo]:
        """Returns what the provider serves now. Raises the errors of common.llm.errors."""
        ...

    async def check_key(self) -> None:
        """Returns where the provider accepts the key; costs no tokens. Raises the errors of common.llm.errors."""
        ...

    async def aclose(self) -> None:
        """Closes the connections."""
        ...
