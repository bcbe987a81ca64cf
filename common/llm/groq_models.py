"""The models Groq serves and served.

Sources: https://console.groq.com/docs/models and https://console.groq.com/docs/deprecations, as of October 2026. The live list
(`LlmRouter.models`) is merged over this one, so that a model that comes or goes needs no release of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from common.llm.types import ModelInfo

DEFAULT_MODEL = "llama-3.1-8b-instant"

_CHAT = ("chat",)
_TOOLS = ("chat", "tools", "json")
_REASONING = (*_TOOLS, "reasoning")
_VISION = (*_TOOLS, "vision")
_VISION_REASONING = (*_REASONING, "vision")
_SYSTEM = ("chat", "web_search", "code_execution")
_GUARD = ("moderation",)
_HEAR = ("transcription",)
_SPEAK = ("speech",)
_SCOUT = "meta-llama/llama-4-scout-17b-16e-instruct"

# id, owner, context window, longest answer, capabilities
_SERVED = (
    ("openai/gpt-oss-120b", "OpenAI", 131_072, 65_536, _REASONING),
    ("openai/gpt-oss-20b", "OpenAI", 131_072, 65_536, _REASONING),
    ("openai/gpt-oss-safeguard-20b", "OpenAI", 131_072, 65_536, _REASONING),
    ("qwen/qwen3.8-27b", "Alibaba Cloud", 131_072, 32_768, _VISION_REASONING),
    ("groq/compound", "Groq", 131_072, 8_192, _SYSTEM),
    ("groq/compound-mini", "Groq", 131_072, 8_192, _SYSTEM),
    ("allam-2-7b", "SDAIA", 4_096, 4_096, _CHAT),
    ("meta-llama/llama-prompt-guard-2-22m", "Meta", 512, 512, _GUARD),
    ("meta-llama/llama-prompt-guard-2-86m", "Meta", 512, 512, _GUARD),
    ("whisper-large-v3", "OpenAI", 448, 448, _HEAR),
    ("whisper-large-v3-turbo", "OpenAI", 448, 448, _HEAR),
    ("canopylabs/orpheus-v1-english", "Canopy Labs", 4_000, 50_000, _SPEAK),
    ("canopylabs/orpheus-arabic-saudi", "Canopy Labs", 4_000, 50_000, _SPEAK),
)
# The same, successor, date. Contracts still have them: asked first, then their successor.
_LEAVING = (
    ("llama-3.1-8b-instant", "Meta", 131_072, 131_072, _TOOLS, "openai/gpt-oss-20b", "2026-08-16"),
    ("llama-3.3-70b-versatile", "Meta", 131_072, 32_768, _TOOLS, "openai/gpt-oss-120b", "2026-08-16"),
    ("qwen/qwen3.6-27b", "Alibaba Cloud", 131_072, 32_768, _VISION_REASONING, "qwen/qwen3.8-27b", ""),
)
_RETIRED = (
    ("llama3-70b-8192", "Meta", 8_192, 8_192, _CHAT, "llama-3.3-70b-versatile", "2025-08-30"),
    ("llama3-8b-8192", "Meta", 8_192, 8_192, _CHAT, "llama-3.1-8b-instant", "2025-08-30"),
    ("mixtral-8x7b-32768", "Mistral AI", 32_768, 32_768, _CHAT, "llama-3.3-70b-versatile", "2025-03-20"),
    ("mistral-saba-24b", "Mistral AI", 32_768, 32_768, _TOOLS, "qwen/qwen3-32b", "2025-07-30"),
    ("llama2-70b-4096", "Meta", 4_096, 4_096, _CHAT, "llama3-70b-8192", ""),
    ("gemma-7b-it", "Google", 8_192, 8_192, _CHAT, "gemma2-9b-it", "2024-12-18"),
    ("gemma2-9b-it", "Google", 8_192, 8_192, _CHAT, "llama-3.1-8b-instant", "2025-10-08"),
    ("llama-3.1-70b-versatile", "Meta", 131_072, 32_768, _TOOLS, "llama-3.3-70b-versatile", "2025-01-24"),
    ("llama-3.3-70b-specdec", "Meta", 8_192, 8_192, _CHAT, "llama-3.3-70b-versatile", "2025-04-14"),
    ("llama-3.2-1b-preview", "Meta", 131_072, 8_192, _TOOLS, "llama-3.1-8b-instant", "2025-04-14"),
    ("llama-3.2-3b-preview", "Meta", 131_072, 8_192, _TOOLS, "llama-3.1-8b-instant", "2025-04-14"),
    (
        "llama-3.2-11b-vision-preview",
        "Meta",
        131_072,
        8_192,
        _VISION,
        _SCOUT,
        "2025-04-14",
    ),
    (
        "llama-3.2-90b-vision-preview",
        "Meta",
        131_072,
        8_192,
        _VISION,
        _SCOUT,
        "2025-04-14",
    ),
    ("llama3-groq-70b-8192-tool-use-preview", "Groq", 8_192, 8_192, _TOOLS, "llama-3.3-70b-versatile", "2025-01-06"),
    ("llama3-groq-8b-8192-tool-use-preview", "Groq", 8_192, 8_192, _TOOLS, "llama-3.1-8b-instant", "2025-01-06"),
    ("deepseek-r1-distill-llama-70b", "DeepSeek / Meta", 131_072, 131_072, _REASONING, "llama-3.3-70b-versatile", "2025-10-02"),
    ("deepseek-r1-distill-qwen-32b", "DeepSeek / Alibaba Cloud", 131_072, 16_384, _REASONING, "qwen-qwq-32b", "2025-04-14"),
    ("qwen-2.5-32b", "Alibaba Cloud", 131_072, 8_192, _TOOLS, "qwen-qwq-32b", "2025-04-14"),
    ("qwen-2.5-coder-32b", "Alibaba Cloud", 131_072, 8_192, _TOOLS, "qwen-qwq-32b", "2025-04-14"),
    ("qwen-qwq-32b", "Alibaba Cloud", 131_072, 131_072, _REASONING, "qwen/qwen3-32b", "2025-07-14"),
    ("qwen/qwen3-32b", "Alibaba Cloud", 131_072, 40_960, _REASONING, "openai/gpt-oss-120b", "2026-07-17"),
    (_SCOUT, "Meta", 131_072, 8_192, _VISION, "openai/gpt-oss-120b", "2026-07-17"),
    ("meta-llama/llama-4-maverick-17b-128e-instruct", "Meta", 131_072, 8_192, _VISION, "openai/gpt-oss-120b", "2026-03-09"),
    ("moonshotai/kimi-k2-instruct", "Moonshot AI", 131_072, 16_384, _TOOLS, "moonshotai/kimi-k2-instruct-0905", "2025-10-10"),
    ("moonshotai/kimi-k2-instruct-0905", "Moonshot AI", 262_144, 16_384, _TOOLS, "openai/gpt-oss-120b", ""),
    ("llama-guard-3-8b", "Meta", 8_192, 8_192, _GUARD, "openai/gpt-oss-safeguard-20b", "2025-06-06"),
    ("meta-llama/llama-guard-4-12b", "Meta", 131_072, 1_024, _GUARD, "openai/gpt-oss-safeguard-20b", ""),
    ("compound-beta", "Groq", 131_072, 8_192, _SYSTEM, "groq/compound", ""),
    ("compound-beta-mini", "Groq", 131_072, 8_192, _SYSTEM, "groq/compound-mini", ""),
    ("distil-whisper-large-v3-en", "Hugging Face", 448, 448, _HEAR, "whisper-large-v3-turbo", "2025-08-23"),
)


def _table() -> dict[str, ModelInfo]:
    rows = [ModelInfo(*row) for row in _SERVED]
    for active, group in ((True, _LEAVING), (False, _RETIRED)):
        for name, owner, window, longest, can, successor, date in group:
            rows.append(ModelInfo(name, owner, window, longest, can, active, successor, date))
    return {row.id: row for row in rows}


GROQ_MODELS: Mapping[str, ModelInfo] = MappingProxyType(_table())
"""Groq's models by id, retired ones with their successor."""


def is_groq_model(model: str) -> bool:
    """Returns whether an id is Groq's, served or retired, with or without a `groq/` before it."""
    return model in GROQ_MODELS or model.removeprefix("groq/") in GROQ_MODELS


def groq_id(model: str) -> str:
    """Returns the id as Groq knows it: `groq/` is part of some ids and a prefix of ours before others."""
    return model if model in GROQ_MODELS else model.removeprefix("groq/")


def successors(model: str) -> list[str]:
    """Returns what to ask for instead of a model, best first: itself while it is served, then its successors in order."""
    row = GROQ_MODELS.get(model)
    chain = [] if row is not None and not row.active else [model]
    while row is not None and row.replaced_by:
        row = GROQ_MODELS[row.replaced_by]
        if row.active:
            chain.append(row.id)
    return chain
