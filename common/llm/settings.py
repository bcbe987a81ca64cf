"""Settings of the language models. Keys are SecretStr: they print as asterisks."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from common.settings import Settings

GROQ_URL = "https://api.groq.com"
OPENAI_URL = "https://api.openai.com/v1"
OLLAMA_URL = "http://127.0.0.1:11434/v1"


class LlmSettings(Settings):
    """Which providers there are, what is asked of them and how long is waited."""

    groq_api_key: SecretStr | None = Field(
        default=None, validation_alias="GROQ_API_KEY", description="Key of Groq; without it answers are quotes."
    )
    groq_base_url: str = Field(
        default=GROQ_URL,
        validation_alias="GROQ_BASE_URL",
        description="Another server that speaks Groq's API; /openai/v1/chat/completions is added to it.",
    )
    groq_model: str = Field(
        default="llama-3.1-8b-instant", validation_alias="GROQ_MODEL", description="Model where the caller names none."
    )
    groq_timeout_s: float = Field(
        default=30.0, gt=0, validation_alias="GROQ_TIMEOUT", description="Seconds Groq may take until the first token."
    )
    groq_max_tokens: int = Field(
        default=2000, gt=0, validation_alias="GROQ_MAX_TOKENS", description="Longest answer in tokens, for every provider."
    )
    groq_temperature: float = Field(
        default=0.7, ge=0, le=2, validation_alias="GROQ_TEMPERATURE", description="Temperature, for every provider."
    )
    openai_api_key: SecretStr | None = Field(
        default=None, validation_alias="OPENAI_API_KEY", description="Key of OpenAI or of a compatible server."
    )
    openai_base_url: str = Field(
        default="", validation_alias="OPENAI_BASE_URL", description="A compatible server (vLLM, llama.cpp), up to /v1."
    )
    openai_model: str = Field(default="", validation_alias="OPENAI_MODEL", description="Model asked of that server.")
    ollama_base_url: str = Field(
        default="",
        validation_alias="OLLAMA_BASE_URL",
        description="Address of Ollama; this machine's where only a model is set.",
    )
    ollama_model: str = Field(default="", validation_alias="OLLAMA_MODEL", description="Model asked of Ollama.")
    llm_fallback: str = Field(
        default="",
        description="What to try when the model asked for fails before its first token: providers and models, comma between.",
    )
    llm_connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to connect to a provider.")
    llm_first_token_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds until the first token of a provider other than Groq; local models load first."
    )
    llm_idle_timeout_s: float = Field(default=15.0, gt=0, description="Seconds of silence between two tokens.")
    llm_retries: int = Field(default=2, ge=0, description="Tries after the first one, before the first token only.")
    llm_retry_base_s: float = Field(default=0.25, ge=0, description="Longest wait before the first retry; doubles each time.")
    llm_retry_max_s: float = Field(
        default=4.0, ge=0, description="Longest wait before a retry; a provider that asks for more is not waited for."
    )
    llm_breaker_failures: int = Field(default=5, gt=0, description="Failures in a row after which a provider is left alone.")
    llm_breaker_open_s: float = Field(default=10.0, ge=0, description="Seconds it is left alone before one call probes it.")

    @field_validator("groq_api_key", "openai_api_key")
    @classmethod
    def _empty_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        stripped = SecretStr(value.get_secret_value().strip()) if value is not None else None
        return stripped or None

    @field_validator("groq_base_url")
    @classmethod
    def _without_path(cls, value: str) -> str:
        # The SDK adds /openai/v1; many documents give the address with it.
        return value.strip().rstrip("/").removesuffix("/openai/v1") or GROQ_URL

    @field_validator("ollama_base_url")
    @classmethod
    def _with_v1(cls, value: str) -> str:
        address = value.strip().rstrip("/")
        return f"{address}/v1" if address and not address.endswith("/v1") else address

    @property
    def fallback(self) -> list[str]:
        """The fallback chain, in order."""
        return [item.strip() for item in self.llm_fallback.split(",") if item.strip()]
