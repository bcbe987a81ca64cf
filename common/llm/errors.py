"""How language models fail. No message quotes what a provider wrote: providers echo keys and prompts in their errors."""

from __future__ import annotations

from typing import ClassVar

from common.errors import Code, MallaError


class LlmError(MallaError):
    """A provider could not answer.

    Attributes:
        falls_back: Whether another provider or model may do better.
        retries: Whether the same provider may do better soon.
        unhealthy: Whether it speaks against the provider's health: the circuit breaker counts these.
    """

    falls_back: ClassVar[bool] = True
    retries: ClassVar[bool] = False
    unhealthy: ClassVar[bool] = False

    def __init__(self, message: str, *, provider: str, model: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, details={"provider": provider, "model": model}, retry_after_s=retry_after_s)
        self.provider = provider
        self.model = model


class LlmNotConfiguredError(LlmError):
    """No key or address is set for the provider of the model."""

    code = Code.FAILED_PRECONDITION
    reason = "LLM_NOT_CONFIGURED"

    def __init__(self, *, provider: str, model: str = "") -> None:
        wanted = f"The model '{model}' needs" if model else "Answers need"
        super().__init__(
            f"{wanted} a language model provider that is not configured. {hint_of(provider)}", provider=provider, model=model
        )


class LlmKeyRejectedError(LlmError):
    """The provider rejected the operator's key. The end user cannot help it, so the code is not UNAUTHENTICATED."""

    code = Code.FAILED_PRECONDITION
    reason = "LLM_KEY_REJECTED"

    def __init__(self, *, provider: str, model: str = "") -> None:
        super().__init__(f"{label(provider)} rejected the API key. {hint_of(provider)}", provider=provider, model=model)


class LlmRateLimitedError(LlmError):
    """The provider's rate limit or quota is used up."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "LLM_RATE_LIMITED"
    retries = True

    def __init__(self, *, provider: str, model: str = "", retry_after_s: float | None = None) -> None:
        when = "shortly" if retry_after_s is None else f"in {retry_after_s:.0f} s"
        super().__init__(
            f"{label(provider)} limits the rate of requests. Try again {when}.",
            provider=provider,
            model=model,
            retry_after_s=1.0 if retry_after_s is None else retry_after_s,
        )
        self.asked_to_wait = retry_after_s is not None


class ModelNotFoundError(LlmError):
    """The provider has no such model, or no longer."""

    code = Code.NOT_FOUND
    reason = "MODEL_NOT_FOUND"
    detail_message = "malla.common.v1.ResourceNotFound"

    def __init__(self, *, provider: str, model: str) -> None:
        super().__init__(
            f"{label(provider)} has no model '{model}'. GET /api/v1/groq/models lists those there are.",
            provider=provider,
            model=model,
        )
        self.details |= {"resource_type": "model", "resource_id": model}


class ContextTooLongError(LlmError):
    """Prompt and answer do not fit the model's window: shorten the prompt and call again."""

    code = Code.INVALID_ARGUMENT
    reason = "CONTEXT_TOO_LONG"
    falls_back = False

    def __init__(self, *, provider: str, model: str) -> None:
        super().__init__(
            f"The conversation and its passages are too long for the model '{model}'. Ask for fewer passages or less.",
            provider=provider,
            model=model,
        )


class LlmRequestRefusedError(LlmError):
    """The provider refuses the request as it is; the same request would be refused again."""

    code = Code.INVALID_ARGUMENT
    reason = "LLM_REQUEST_REFUSED"
    falls_back = False

    def __init__(self, *, provider: str, model: str, status: int) -> None:
        super().__init__(
            f"{label(provider)} refused the request for the model '{model}' (HTTP {status}). Check temperature and max_tokens.",
            provider=provider,
            model=model,
        )


class LlmUnavailableError(LlmError):
    """The provider is down, overloaded, cut the connection or sent something that is no answer."""

    code = Code.UNAVAILABLE
    reason = "LLM_UNAVAILABLE"
    detail_message = "malla.common.v1.DependencyUnavailable"
    retries = True
    unhealthy = True

    def __init__(self, what: str, *, provider: str, model: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{label(provider)} {what}. Try again shortly.", provider=provider, model=model)
        self.retry_after_s = 1.0 if retry_after_s is None else retry_after_s
        self.asked_to_wait = retry_after_s is not None
        self.details |= {"dependency": "llm"}


class LlmTimeoutError(LlmError):
    """The provider was silent for too long. Not tried again: the caller has waited long enough."""

    code = Code.DEADLINE_EXCEEDED
    reason = "LLM_TIMEOUT"
    unhealthy = True

    def __init__(self, waiting_for: str, limit_s: float, *, provider: str, model: str = "") -> None:
        setting = _setting(waiting_for, provider)
        message = f"{label(provider)} sent no {waiting_for} within {limit_s:g} s. Try again, or raise {setting}."
        super().__init__(message, provider=provider, model=model)


def _setting(waiting_for: str, provider: str) -> str:
    if waiting_for == "next token":
        return "MALLA_LLM_IDLE_TIMEOUT_S"
    return "GROQ_TIMEOUT" if provider == "groq" else "MALLA_LLM_FIRST_TOKEN_TIMEOUT_S"


_LABELS = {"groq": "Groq", "openai": "The OpenAI-compatible server", "ollama": "Ollama"}
_HINTS = {
    "groq": "Set GROQ_API_KEY; keys are made at https://console.groq.com/keys.",
    "openai": "Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that needs no key.",
    "ollama": "Set OLLAMA_BASE_URL and OLLAMA_MODEL.",
}


def label(provider: str) -> str:
    """Returns the provider's name in a sentence."""
    return _LABELS.get(provider, f"The provider '{provider}'")


def hint_of(provider: str) -> str:
    """Returns what to set for the provider."""
    return _HINTS.get(provider, _HINTS["groq"])
