"""Language models: Groq, any OpenAI-compatible server, Ollama, behind one port and one router."""

from common.llm.checks import KeyStatus, LlmStatus
from common.llm.errors import (
    ContextTooLongError,
    LlmError,
    LlmKeyRejectedError,
    LlmNotConfiguredError,
    LlmRateLimitedError,
    LlmRequestRefusedError,
    LlmTimeoutError,
    LlmUnavailableError,
    ModelNotFoundError,
)
from common.llm.groq_models import DEFAULT_MODEL, GROQ_MODELS, is_groq_model
from common.llm.models import GroqModel, MessageLike, get_groq_llm_model, stream_groq_response
from common.llm.router import Completion, LlmRouter
from common.llm.routing import Choice
from common.llm.settings import LlmSettings
from common.llm.types import Generation, GenerationEnd, Message, ModelInfo, Provider, Stream
from common.llm.usage import estimate_prompt_tokens, estimate_tokens, estimated_usage

__all__ = [
    "DEFAULT_MODEL",
    "GROQ_MODELS",
    "Choice",
    "Completion",
    "ContextTooLongError",
    "Generation",
    "GenerationEnd",
    "GroqModel",
    "KeyStatus",
    "LlmError",
    "LlmKeyRejectedError",
    "LlmNotConfiguredError",
    "LlmRateLimitedError",
    "LlmRequestRefusedError",
    "LlmRouter",
    "LlmSettings",
    "LlmStatus",
    "LlmTimeoutError",
    "LlmUnavailableError",
    "Message",
    "MessageLike",
    "ModelInfo",
    "ModelNotFoundError",
    "Provider",
    "Stream",
    "estimate_prompt_tokens",
    "estimate_tokens",
    "estimated_usage",
    "get_groq_llm_model",
    "is_groq_model",
    "stream_groq_response",
]
