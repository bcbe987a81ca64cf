"""Whether the configured model answers, and whether its key is good. Neither result can hold the key."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from common.llm.errors import LlmError, LlmKeyRejectedError, hint_of, label
from common.llm.routing import Choice
from common.llm.settings import GROQ_URL, LlmSettings
from common.llm.types import Generation, GenerationEnd, Message, Provider, Stream
from common.models import TokenUsage

_GROQ_KEY = re.compile(r"gsk_[A-Za-z0-9]{20,}")
_ANY_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class LlmStatus:
    """How a model answered one token.

    Attributes:
        ok: Whether it answered.
        latency_ms: From the request to its end, retries included.
        error: The reason of the failure; empty for none.
        usage: What the check cost; None where it failed.
    """

    ok: bool
    provider: str
    model: str
    latency_ms: float
    message: str
    error: str = ""
    usage: TokenUsage | None = None


@dataclass(frozen=True)
class KeyStatus:
    """How good a key is.

    Attributes:
        valid: Present, well-formed and accepted.
        accepted: None where the provider was not asked or could not be reached.
        message: What to do.
    """

    valid: bool
    present: bool
    well_formed: bool
    accepted: bool | None
    provider: str
    message: str


async def check_answer(stream: Callable[[Generation], Stream], asked: Choice) -> LlmStatus:
    """Generates one token."""
    started = time.perf_counter()
    model = f"{asked.provider}/{asked.model}" if asked.provider else ""
    request = Generation(model=model, messages=[Message("user", "ping")], temperature=0.0, max_tokens=1)
    try:
        async with aclosing(stream(request)) as pieces:
            ends = [piece async for piece in pieces if isinstance(piece, GenerationEnd)]
    except LlmError as error:
        return LlmStatus(False, error.provider, error.model or asked.model, _ms(started), error.message, error.reason)
    end = ends[-1]
    message = end.notice or f"{label(end.usage.provider)} answers."
    return LlmStatus(True, end.usage.provider, end.model, _ms(started), message, usage=end.usage)


async def verify_key(settings: LlmSettings, providers: Mapping[str, Provider], name: str) -> KeyStatus:
    """Looks at the key and asks its provider."""
    if name not in providers:
        return KeyStatus(False, False, False, None, name, f"No key is set. {hint_of(name)} Until then answers are quotes.")
    if not _well_formed(settings, name):
        return KeyStatus(False, True, False, None, name, f"The key does not look like one. {hint_of(name)}")
    try:
        await providers[name].check_key()
    except LlmKeyRejectedError as error:
        return KeyStatus(False, True, True, False, name, error.message)
    except LlmError as error:
        return KeyStatus(False, True, True, None, name, f"The key could not be checked: {error.message}")
    return KeyStatus(True, True, True, True, name, f"{label(name)} accepts the key.")


def _well_formed(settings: LlmSettings, name: str) -> bool:
    key = {"groq": settings.groq_api_key, "openai": settings.openai_api_key}.get(name)
    if key is None:
        return True  # A server that needs none.
    shape = _GROQ_KEY if name == "groq" and settings.groq_base_url == GROQ_URL else _ANY_KEY
    return bool(shape.fullmatch(key.get_secret_value()))


def _ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
