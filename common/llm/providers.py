"""Makes the providers that the settings name. The SDKs are imported only where they are used: they take time to load."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from common.llm.sdk import Limits, Sdk, SdkProvider
from common.llm.settings import GROQ_URL, OLLAMA_URL, OPENAI_URL, LlmSettings

_MOST_CONNECTIONS = 1000
_KEEP_ALIVE_S = 60.0
# Some servers need no key; the SDK does.
_NO_KEY = "none"


def groq_provider(settings: LlmSettings) -> SdkProvider | None:
    """Returns Groq by the groq SDK, None without a key."""
    if settings.groq_api_key is None:
        return None
    import aiohttp
    import groq
    import httpx

    client = groq.AsyncGroq(
        api_key=settings.groq_api_key.get_secret_value(),
        base_url=settings.groq_base_url,
        max_retries=0,
        timeout=httpx.Timeout(None, connect=settings.llm_connect_timeout_s),
        http_client=groq.DefaultAioHttpClient(
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_S)
        ),
    )
    # Groq sends its usage unasked; the servers that stand in for it do not.
    extra: dict[str, Any] = {} if settings.groq_base_url == GROQ_URL else {"stream_options": {"include_usage": True}}
    sdk = Sdk(
        client=client,
        status_error=groq.APIStatusError,
        connection_error=groq.APIConnectionError,
        transport_errors=(groq.APIError, httpx.HTTPError, httpx.StreamError, aiohttp.ClientError),
        unsent_errors=(aiohttp.ClientConnectionResetError,),
        extra=extra,
    )
    return SdkProvider("groq", sdk, _limits(settings, settings.groq_timeout_s))


def openai_provider(settings: LlmSettings) -> SdkProvider | None:
    """Returns OpenAI or a compatible server by the openai SDK, None without a key and an address."""
    if settings.openai_api_key is None and not settings.openai_base_url:
        return None
    return _compatible("openai", settings.openai_base_url or OPENAI_URL, settings.openai_api_key, settings)


def ollama_provider(settings: LlmSettings) -> SdkProvider | None:
    """Returns Ollama by the openai SDK, None without an address and a model."""
    if not settings.ollama_base_url and not settings.ollama_model:
        return None
    return _compatible("ollama", settings.ollama_base_url or OLLAMA_URL, None, settings)


def _compatible(name: str, base_url: str, key: SecretStr | None, settings: LlmSettings) -> SdkProvider:
    import aiohttp
    import httpx2
    import openai

    client = openai.AsyncOpenAI(
        api_key=key.get_secret_value() if key is not None else _NO_KEY,
        base_url=base_url,
        max_retries=0,
        timeout=httpx2.Timeout(None, connect=settings.llm_connect_timeout_s),
        http_client=openai.DefaultAioHttpClient(
            limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_S)
        ),
    )
    sdk = Sdk(
        client=client,
        status_error=openai.APIStatusError,
        connection_error=openai.APIConnectionError,
        transport_errors=(openai.APIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError),
        unsent_errors=(aiohttp.ClientConnectionResetError,),
        extra={"stream_options": {"include_usage": True}},
        limit_field="max_completion_tokens" if base_url.startswith(OPENAI_URL) else "max_tokens",
    )
    return SdkProvider(name, sdk, _limits(settings, settings.llm_first_token_timeout_s))


def _limits(settings: LlmSettings, first_token_s: float) -> Limits:
    return Limits(
        first_token_s=first_token_s,
        idle_s=settings.llm_idle_timeout_s,
        max_tokens=settings.groq_max_tokens,
        temperature=settings.groq_temperature,
    )
