"""The table of models, the settings and the routes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from common.llm import (
    DEFAULT_MODEL,
    GROQ_MODELS,
    LlmSettings,
    Message,
    estimate_prompt_tokens,
    estimate_tokens,
    estimated_usage,
    is_groq_model,
)
from common.llm.groq_models import groq_id, successors
from common.llm.routing import Choice, Routes
from tests.fakes.llm_upstream import made_key, settings_for


def test_the_table_has_what_clients_read() -> None:
    assert len(GROQ_MODELS) >= 20
    assert GROQ_MODELS[DEFAULT_MODEL].active
    for name, row in GROQ_MODELS.items():
        assert row.id == name
        assert row.owned_by
        assert row.context_window > 0
        assert row.max_output_tokens > 0
        assert row.capabilities
        assert row.active or row.replaced_by, name


@pytest.mark.parametrize("model", sorted(GROQ_MODELS))
def test_every_model_leads_to_one_that_is_served(model: str) -> None:
    chain = successors(model)
    assert chain
    assert all(GROQ_MODELS[name].active for name in chain)
    last = GROQ_MODELS[chain[-1]]
    assert not last.replaced_by
    assert not set(GROQ_MODELS[model].capabilities) & {"chat"} or "chat" in last.capabilities


@pytest.mark.parametrize(
    ("model", "chain"),
    [
        ("llama-3.1-8b-instant", ["llama-3.1-8b-instant", "openai/gpt-oss-20b"]),
        ("llama3-70b-8192", ["llama-3.3-70b-versatile", "openai/gpt-oss-120b"]),
        ("mixtral-8x7b-32768", ["llama-3.3-70b-versatile", "openai/gpt-oss-120b"]),
        ("mistral-saba-24b", ["openai/gpt-oss-120b"]),
        ("groq/compound", ["groq/compound"]),
        ("brand-new", ["brand-new"]),
    ],
)
def test_successors(model: str, chain: list[str]) -> None:
    assert successors(model) == chain


def test_ids_with_and_without_the_prefix() -> None:
    assert is_groq_model("llama-3.1-8b-instant")
    assert is_groq_model("groq/llama-3.1-8b-instant")
    assert is_groq_model("mixtral-8x7b-32768")
    assert is_groq_model("openai/gpt-oss-120b")
    assert not is_groq_model("gpt-4o")
    assert not is_groq_model("")
    assert [groq_id(name) for name in ("groq/compound", "groq/x", "x")] == ["groq/compound", "x", "x"]


def test_settings_read_the_names_users_know(monkeypatch: pytest.MonkeyPatch) -> None:
    key = made_key()
    for name, value in {
        "GROQ_API_KEY": f" {key} ",
        "GROQ_BASE_URL": "https://groq.example/openai/v1/",
        "GROQ_MODEL": "m",
        "GROQ_TIMEOUT": "7",
        "GROQ_MAX_TOKENS": "8",
        "GROQ_TEMPERATURE": "0.1",
        "GROQ_SOMETHING_ELSE": "x",
        "OPENAI_API_KEY": "",
        "OLLAMA_BASE_URL": "http://127.0.0.1:11434",
        "MALLA_LLM_FALLBACK": "ollama, openai/x,",
        "MALLA_LLM_IDLE_TIMEOUT_S": "3",
    }.items():
        monkeypatch.setenv(name, value)
    settings = LlmSettings(_env_file=None)
    assert settings.groq_api_key is not None
    assert settings.groq_api_key.get_secret_value() == key
    assert settings.groq_base_url == "https://groq.example"
    assert (settings.groq_model, settings.groq_timeout_s, settings.groq_max_tokens) == ("m", 7, 8)
    assert (settings.groq_temperature, settings.openai_api_key) == (0.1, None)
    assert settings.ollama_base_url == "http://127.0.0.1:11434/v1"
    assert settings.fallback == ["ollama", "openai/x"]
    assert settings.llm_idle_timeout_s == 3
    assert key not in repr(settings) + str(settings) + settings.model_dump_json()


def test_the_defaults_are_the_contract_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROQ_MODEL", "GROQ_TIMEOUT", "GROQ_MAX_TOKENS", "GROQ_TEMPERATURE"):
        monkeypatch.delenv(name, raising=False)
    settings = LlmSettings(_env_file=None)
    assert (settings.groq_model, settings.groq_timeout_s) == ("llama-3.1-8b-instant", 30)
    assert (settings.groq_max_tokens, settings.groq_temperature) == (2000, 0.7)


def test_a_bad_setting_is_told_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = made_key()
    monkeypatch.setenv("GROQ_API_KEY", key)
    monkeypatch.setenv("GROQ_TEMPERATURE", "9")
    with pytest.raises(ValidationError) as caught:
        LlmSettings(_env_file=None)
    assert key not in str(caught.value)


def routes(configured: set[str], clock: list[float], **settings: object) -> Routes:
    return Routes(settings_for(None, **settings), configured, lambda: clock[0])


@pytest.mark.parametrize(
    ("wanted", "configured", "resolved"),
    [
        ("", {"groq", "openai"}, ("groq", DEFAULT_MODEL)),
        ("", {"openai"}, ("openai", "gpt-x")),
        ("", {"ollama"}, ("", "")),
        ("openai", {"groq", "openai"}, ("openai", "gpt-x")),
        ("gpt-x", {"groq", "openai"}, ("openai", "gpt-x")),
        ("openai/other", {"groq", "openai"}, ("openai", "other")),
        ("ollama/a/b", {"groq"}, ("ollama", "a/b")),
        ("openai/gpt-oss-120b", {"groq", "openai"}, ("groq", "openai/gpt-oss-120b")),
        ("openai/gpt-oss-120b", {"openai"}, ("openai", "gpt-oss-120b")),
        ("groq/llama3-70b-8192", {"groq"}, ("groq", "llama3-70b-8192")),
        ("groq/own", {"groq"}, ("groq", "own")),
        ("llama-3.1-8b-instant", {"openai"}, ("groq", "llama-3.1-8b-instant")),
        ("unheard-of", {"openai"}, ("openai", "unheard-of")),
    ],
)
def test_routes(wanted: str, configured: set[str], resolved: tuple[str, str]) -> None:
    assert routes(configured, [0.0], openai_model="gpt-x").resolve(wanted) == resolved


def test_what_is_gone_is_asked_again_after_a_while() -> None:
    clock = [0.0]
    there = routes({"groq"}, clock)
    there.gone(Choice("groq", DEFAULT_MODEL))
    assert [choice.model for choice in there.chains("")[0]] == ["openai/gpt-oss-20b"]
    there.gone(Choice("groq", "openai/gpt-oss-20b"))
    assert [choice.model for choice in there.chains("")[0]] == ["openai/gpt-oss-20b"]
    clock[0] = 3600.0
    assert [choice.model for choice in there.chains("")[0]] == [DEFAULT_MODEL, "openai/gpt-oss-20b"]


def test_estimates() -> None:
    assert (estimate_tokens(""), estimate_tokens("a")) == (0, 1)
    assert 8 <= estimate_tokens("¿Cuál es el horario de atención?") <= 12
    prompt = [Message("user", "hola")]
    usage = estimated_usage("groq", "m", prompt, "adiós")
    assert usage.estimated
    assert usage.total_tokens == estimate_prompt_tokens(prompt) + estimate_tokens("adiós")
