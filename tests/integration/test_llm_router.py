"""Which provider and model answer: retired ids, fallback, the merged list, the checks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common.llm import (
    GROQ_MODELS,
    ContextTooLongError,
    LlmKeyRejectedError,
    LlmNotConfiguredError,
    LlmRouter,
    LlmSettings,
    LlmUnavailableError,
    ModelNotFoundError,
    get_groq_llm_model,
)
from tests.fakes.llm_upstream import WORDS, Act, Upstream, ask, made_key, running_upstream, settings_for, told

TEXT = "".join(WORDS)


@pytest.fixture
async def groq() -> AsyncIterator[Upstream]:
    async with running_upstream() as server:
        yield server


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    async with running_upstream() as server:
        yield server


async def test_the_openai_sdk_asks_a_compatible_server(other: Upstream) -> None:
    settings = settings_for(None, openai_base_url=f"{other.url}/v1", openai_model="qwen")
    async with LlmRouter(settings) as router:
        assert (router.available, router.provider, router.model) == (True, "openai", "qwen")
        deltas, end = await told(router.stream(ask()))
    assert "".join(deltas) == TEXT
    assert (end.usage.provider, end.usage.input_tokens, other.chats[0].path) == ("openai", 11, "/v1/chat/completions")
    assert other.chats[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "act", [Act(401, body={}), Act(500, body={}), Act(cut_after=0), Act(raw=b"data: no\n\n"), Act(429, body={})]
)
async def test_the_openai_sdk_fails_as_the_groq_one_does(groq: Upstream, other: Upstream, act: Act) -> None:
    groq.default = other.default = act
    kinds = []
    async with LlmRouter(settings_for(groq, openai_base_url=f"{other.url}/v1")) as router:
        for model in ("groq/x", "openai/x"):
            with pytest.raises(Exception) as caught:  # compared below
                await told(router.stream(ask(model)))
            kinds.append(type(caught.value))
    assert kinds[0] is kinds[1]


async def test_a_retired_model_is_answered_by_its_successor_with_a_notice(groq: Upstream) -> None:
    async with LlmRouter(settings_for(groq)) as router:
        for model in ("llama3-70b-8192", "mixtral-8x7b-32768"):
            _, end = await told(router.stream(ask(model)))
            assert (end.model, model in end.notice) == ("llama-3.3-70b-versatile", True)
            assert router.resolve(model).notice == end.notice


async def test_a_model_on_its_way_out_is_asked_first_and_then_its_successor(groq: Upstream) -> None:
    groq.missing = {"llama-3.1-8b-instant"}
    async with LlmRouter(settings_for(groq)) as router:
        for _ in range(2):
            _, end = await told(router.stream(ask()))
            assert end.model == "openai/gpt-oss-20b"
            assert "'llama-3.1-8b-instant' is retired" in end.notice
    # The second request does not ask for what is gone.
    assert [seen.body["model"] for seen in groq.chats] == ["llama-3.1-8b-instant", "openai/gpt-oss-20b", "openai/gpt-oss-20b"]


async def test_a_model_nobody_has(groq: Upstream) -> None:
    groq.missing = {"no-such-model"}
    async with LlmRouter(settings_for(groq)) as router:
        with pytest.raises(ModelNotFoundError, match="no-such-model"):
            await told(router.stream(ask("no-such-model")))


@pytest.mark.parametrize("act", [Act(500), Act(429), Act(401), Act(404), Act(hang="first"), Act(raw=b"data: no\n\n")])
async def test_the_fallback_answers_before_the_first_token(groq: Upstream, other: Upstream, act: Act) -> None:
    groq.default = act
    settings = settings_for(
        groq, groq_timeout_s=0.2, openai_base_url=f"{other.url}/v1", openai_model="qwen", llm_fallback="ollama, openai"
    )
    async with LlmRouter(settings) as router:
        deltas, end = await told(router.stream(ask("groq/own-model")))
    assert "".join(deltas) == TEXT
    assert (end.model, end.usage.provider) == ("qwen", "openai")
    assert end.notice == "The model 'own-model' was not available; 'qwen' answered."


async def test_only_what_the_caller_may_use_answers_in_place_of_another(groq: Upstream, other: Upstream) -> None:
    groq.default = Act(503)
    fallback = "openai/gpt-oss-120b, openai/own"
    settings = settings_for(groq, openai_base_url=f"{other.url}/v1", openai_model="own", llm_fallback=fallback)
    seen: list[tuple[str, str]] = []

    def allows(provider: str, model: str) -> bool:
        seen.append((provider, model))
        return provider != "groq"

    async with LlmRouter(settings) as router:
        _, end = await told(router.stream(ask("llama-3.1-8b-instant", allows=allows)))
        assert (end.usage.provider, [chat.body["model"] for chat in groq.chats]) == ("openai", ["llama-3.1-8b-instant"])
        assert seen == [("groq", "openai/gpt-oss-120b"), ("openai", "own")]
        with pytest.raises(LlmUnavailableError):
            await told(router.stream(ask("llama-3.1-8b-instant", allows=lambda *_: False)))
    assert len(other.chats) == 1


async def test_no_fallback_after_the_first_token_and_none_for_a_prompt_too_long(groq: Upstream, other: Upstream) -> None:
    groq.then(Act(cut_after=1, pause_s=0.02), Act(413))
    settings = settings_for(groq, openai_base_url=f"{other.url}/v1", openai_model="qwen", llm_fallback="openai")
    async with LlmRouter(settings) as router:
        with pytest.raises(LlmUnavailableError):
            await told(router.stream(ask()))
        with pytest.raises(ContextTooLongError):
            await told(router.stream(ask()))
    assert not other.chats


async def test_when_all_fail_the_first_failure_is_told(groq: Upstream, other: Upstream) -> None:
    groq.default, other.default = Act(401), Act(500)
    settings = settings_for(groq, openai_base_url=f"{other.url}/v1", openai_model="qwen", llm_fallback="openai/qwen")
    async with LlmRouter(settings) as router:
        with pytest.raises(LlmKeyRejectedError):
            await told(router.stream(ask("groq/own-model")))
    assert len(other.chats) == 1


async def test_nothing_configured() -> None:
    async with LlmRouter(settings_for(None)) as router:
        assert (router.available, router.provider, router.model) == (False, "", "")
        with pytest.raises(LlmNotConfiguredError, match="Set GROQ_API_KEY"):
            await told(router.stream(ask()))
        status, key = await router.check(), await router.verify_key()
        assert {row.id for row in await router.models()} == set(GROQ_MODELS)
    assert (status.ok, status.error) == (False, "LLM_NOT_CONFIGURED")
    assert (key.valid, key.present, key.provider) == (False, False, "groq")


async def test_the_live_list_is_merged_with_the_table(groq: Upstream) -> None:
    groq.models = [
        {"id": "openai/gpt-oss-120b", "object": "model", "created": 1, "owned_by": "OpenAI", "context_window": 999},
        {"id": "brand-new", "object": "model", "created": 1, "owned_by": "Somebody", "active": True},
    ]
    async with LlmRouter(settings_for(groq)) as router:
        rows = {row.id: row for row in await router.models()}
        groq.models_status = 500
        assert len(await router.models()) == len(rows)
    assert (rows["brand-new"].active, rows["brand-new"].owned_by) == (True, "Somebody")
    assert (rows["openai/gpt-oss-120b"].context_window, rows["openai/gpt-oss-120b"].max_output_tokens) == (999, 65_536)
    assert not rows["llama-3.1-8b-instant"].active
    assert rows["mixtral-8x7b-32768"].replaced_by


async def test_the_checks(groq: Upstream) -> None:
    async with LlmRouter(settings_for(groq)) as router:
        status, key = await router.check(), await router.verify_key()
        groq.default, groq.models_status = Act(401), 401
        bad_status, bad_key = await router.check(), await router.verify_key()
        groq.models_status = 503
        unknown = await router.verify_key()
    assert (status.ok, status.provider, status.model, groq.chats[0].body["max_tokens"]) == (True, "groq", router.model, 1)
    assert (key.valid, key.present, key.well_formed, key.accepted) == (True, True, True, True)
    assert (bad_status.ok, bad_status.error) == (False, "LLM_KEY_REJECTED")
    assert (bad_key.valid, bad_key.accepted, "Set GROQ_API_KEY" in bad_key.message) == (False, False, True)
    assert (unknown.valid, unknown.accepted) == (False, None)


async def test_a_malformed_key_is_not_sent_to_groq() -> None:
    settings = settings_for(None, groq_api_key=made_key()[6:], groq_base_url="https://api.groq.com")
    async with LlmRouter(settings) as router:
        key = await router.verify_key()
    assert (key.valid, key.present, key.well_formed, key.accepted) == (False, True, False, None)


async def test_the_function_uses_the_router_it_is_given(groq: Upstream) -> None:
    async with LlmRouter(settings_for(groq)) as router:
        llm = get_groq_llm_model("openai/gpt-oss-20b", 0.1, 5, router=router)
        answer = await llm.chat(messages=[{"role": "user", "content": "hola"}])
        await get_groq_llm_model(router=router).chat([{"role": "user", "content": "hola"}])
    assert (answer.text, answer.model, answer.finish_reason) == (TEXT, "openai/gpt-oss-20b", "stop")
    assert (groq.chats[0].body["temperature"], groq.chats[0].body["max_tokens"]) == (0.1, 5)
    assert groq.chats[1].body["model"] == "llama-3.1-8b-instant"


def settings_of(other: Upstream, provider: str) -> LlmSettings:
    if provider == "groq":
        return settings_for(other)
    return settings_for(None, openai_base_url=f"{other.url}/v1", openai_model="m")


@pytest.mark.parametrize(
    "served",
    [
        [{"id": "llama-3.1-8b-instant", "context_window": "128k"}],
        [{"name": "without an id"}],
        [{"id": "llama-3.1-8b-instant", "meta": "text"}],
        ["llama-3.1-8b-instant"],
        [None],
        None,
        {"llama-3.1-8b-instant": {}},
    ],
    ids=str,
)
@pytest.mark.parametrize("provider", ["groq", "openai"])
async def test_a_list_that_is_none_is_told_from_the_table(other: Upstream, served: object, provider: str) -> None:
    other.models = served  # type: ignore[assignment]
    settings = settings_of(other, provider)
    async with LlmRouter(settings) as router:
        assert {row.id for row in await router.models()} >= set(GROQ_MODELS)
        status = await router.verify_key()
    assert status.provider == provider


@pytest.mark.parametrize("body", [[{"id": "m"}], "<html>", None, {}, {"models": []}], ids=str)
@pytest.mark.parametrize("provider", ["groq", "openai"])
async def test_an_answer_that_is_no_list_is_told_from_the_table(other: Upstream, body: object, provider: str) -> None:
    other.list_of_models = body
    settings = settings_of(other, provider)
    async with LlmRouter(settings) as router:
        assert {row.id for row in await router.models()} >= set(GROQ_MODELS)
        assert (await router.verify_key()).provider == provider
