"""The real groq and openai SDKs against a real language model: llama.cpp's server, no mock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from common.llm import ContextTooLongError, Generation, LlmRouter, Message, get_groq_llm_model, stream_groq_response
from tests.fakes import llama_cpp
from tests.fakes.llm_upstream import made_key, settings_for, told

pytestmark = pytest.mark.skipif(bool(llama_cpp.missing()), reason=f"not installed: {llama_cpp.missing()}")

PROMPT = [Message("system", "You answer in one short sentence."), Message("user", "What is the capital of France?")]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with llama_cpp.running_llama() as url:
        yield url


def settings(url: str, **more: object):
    return settings_for(
        None,
        groq_api_key=made_key(),
        groq_base_url=url,
        groq_model=llama_cpp.MODEL,
        groq_timeout_s=60.0,
        groq_max_tokens=24,
        openai_base_url=f"{url.removesuffix('/')}{llama_cpp.API_PREFIX}/v1",
        openai_model=llama_cpp.MODEL,
        **more,
    )


@pytest.mark.parametrize(("model", "provider"), [("", "groq"), ("openai", "openai")])
async def test_a_streamed_answer_with_counted_tokens(server: str, model: str, provider: str) -> None:
    async with LlmRouter(settings(server)) as router:
        deltas, end = await told(router.stream(Generation(model, PROMPT, temperature=0.0)))
    assert len(deltas) > 1
    assert "".join(deltas).strip()
    assert not end.usage.estimated
    assert 0 < end.usage.output_tokens <= 24
    assert end.usage.input_tokens > 10
    assert (end.usage.provider, end.model) == (provider, llama_cpp.MODEL)
    assert end.finish_reason in ("stop", "length")


async def test_the_functions_of_the_rag_platform(server: str) -> None:
    llm = get_groq_llm_model(llama_cpp.MODEL, 0.0, settings=settings(server))
    answer = await llm.chat(messages=[{"role": "user", "content": "Say hello."}])
    assert answer.text == answer.content != ""
    pieces, end = await told(
        stream_groq_response([{"role": "user", "content": "Say hello."}], temperature=0.0, settings=settings(server))
    )
    assert "".join(pieces) == answer.text
    assert end.usage.total_tokens == answer.usage.total_tokens


async def test_models_connection_and_key(server: str) -> None:
    async with LlmRouter(settings(server)) as router:
        own = next(row for row in await router.models() if row.id == llama_cpp.MODEL)
        status = await router.check()
        key = await router.verify_key()
    assert own.active
    assert (status.ok, status.provider, status.model) == (True, "groq", llama_cpp.MODEL)
    assert 0 < status.latency_ms < 60_000
    assert (key.valid, key.accepted, key.provider) == (True, True, "groq")


async def test_a_prompt_beyond_the_window_is_told_as_such(server: str) -> None:
    async with LlmRouter(settings(server)) as router:
        with pytest.raises(ContextTooLongError):
            await told(router.stream(Generation("", [Message("user", "palabra " * 3000)])))


async def test_a_reader_that_leaves_stops_the_model(server: str) -> None:
    async with LlmRouter(settings(server)) as router:
        request = Generation("", [Message("user", "Tell a very long story.")], max_tokens=800)
        async with aclosing(router.stream(request)) as pieces:
            await anext(pieces)
        # Both of the server's slots would be busy for many seconds if the stories went on.
        started = time.monotonic()
        await asyncio.gather(*(told(router.stream(Generation("", PROMPT, max_tokens=1))) for _ in range(2)))
        assert time.monotonic() - started < 5
