"""The Groq provider and the router against an upstream that fails in every way: real sockets, the real SDK."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import aiohttp
import groq
import httpx
import pytest

from common.errors import Code
from common.llm import (
    ContextTooLongError,
    GenerationEnd,
    LlmError,
    LlmKeyRejectedError,
    LlmRateLimitedError,
    LlmRequestRefusedError,
    LlmRouter,
    LlmTimeoutError,
    LlmUnavailableError,
    ModelNotFoundError,
)
from common.llm.sdk import SdkProvider
from tests.fakes.llm_upstream import WORDS, Act, Upstream, ask, running_upstream, settings_for, told
from tests.fakes.waiting import until

TEXT = "".join(WORDS)
CODES = {
    LlmKeyRejectedError: (Code.FAILED_PRECONDITION, "LLM_KEY_REJECTED"),
    ModelNotFoundError: (Code.NOT_FOUND, "MODEL_NOT_FOUND"),
    ContextTooLongError: (Code.INVALID_ARGUMENT, "CONTEXT_TOO_LONG"),
    LlmRequestRefusedError: (Code.INVALID_ARGUMENT, "LLM_REQUEST_REFUSED"),
    LlmRateLimitedError: (Code.RESOURCE_EXHAUSTED, "LLM_RATE_LIMITED"),
    LlmUnavailableError: (Code.UNAVAILABLE, "LLM_UNAVAILABLE"),
}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as server:
        yield server


async def failure(upstream: Upstream, model: str = "groq/own-model", **settings: object) -> LlmError:
    async with LlmRouter(settings_for(upstream, **settings)) as router:
        with pytest.raises(LlmError) as caught:
            await told(router.stream(ask(model)))
    return caught.value


@pytest.mark.parametrize("usage", ["usage", "x_groq", "both"])
@pytest.mark.parametrize("act", [Act(), Act(one_write=True), Act(split=True), Act(done=False)])
async def test_a_whole_answer_with_its_usage_counted_once(upstream: Upstream, act: Act, usage: str) -> None:
    upstream.then(Act(**{**vars(act), "usage": usage}))
    async with LlmRouter(settings_for(upstream)) as router:
        deltas, end = await told(router.stream(ask(temperature=0.2, max_tokens=77)))
    assert "".join(deltas) == TEXT
    assert (end.usage.input_tokens, end.usage.output_tokens, end.usage.total_tokens) == (11, 3, 14)
    assert (end.usage.cached_tokens, end.usage.estimated) == (4, False)
    assert (end.finish_reason, end.model, end.usage.provider, end.usage.model) == ("stop", end.model, "groq", end.model)
    body = upstream.chats[0].body
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("llama-3.1-8b-instant", 0.2, 77)
    assert body["messages"] == [{"role": "user", "content": "¿Qué tal?"}]


async def test_events_of_one_read_leave_as_one_delta_and_paced_ones_do_not_wait(upstream: Upstream) -> None:
    upstream.then(Act(one_write=True), Act(pause_s=0.02))
    async with LlmRouter(settings_for(upstream)) as router:
        assert (await told(router.stream(ask())))[0] == [TEXT]
        assert (await told(router.stream(ask())))[0] == list(WORDS)


async def test_usage_that_never_comes_is_estimated_and_said_so(upstream: Upstream) -> None:
    upstream.then(Act(usage="never"))
    async with LlmRouter(settings_for(upstream)) as router:
        _, end = await told(router.stream(ask()))
    assert end.usage.estimated
    assert end.usage.output_tokens == len(WORDS)
    assert end.usage.input_tokens > 0
    assert end.usage.total_tokens == end.usage.input_tokens + end.usage.output_tokens


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (Act(401, body={"error": {"message": "bad", "code": "invalid_api_key"}}), LlmKeyRejectedError),
        (Act(403, body={"error": {"message": "no"}}), LlmKeyRejectedError),
        (Act(404, body={"error": {"message": "x", "code": "model_not_found"}}), ModelNotFoundError),
        (Act(400, body={"error": {"code": "model_decommissioned"}}), ModelNotFoundError),
        (Act(413, body="too large"), ContextTooLongError),
        (Act(400, body={"error": {"code": "context_length_exceeded"}}), ContextTooLongError),
        (Act(400, body={"error": {"message": "max"}}), LlmRequestRefusedError),
        (Act(429), LlmRateLimitedError),
        (Act(500, body={"error": {"message": "x"}}), LlmUnavailableError),
        (Act(503), LlmUnavailableError),
        (Act(raw=b"data: {broken\n\n"), LlmUnavailableError),
        (Act(raw=b"<html>hello</html>"), LlmUnavailableError),
        (Act(raw=b'data: {"error": {"message": "x", "code": 503}}\n\n'), LlmUnavailableError),
        (Act(raw=b'data: {"error": {"message": "x", "code": 429}}\n\n'), LlmRateLimitedError),
        (Act(cut_after=0), LlmUnavailableError),
    ],
)
async def test_every_refusal_has_its_error(upstream: Upstream, act: Act, kind: type[LlmError]) -> None:
    upstream.default = act
    error = await failure(upstream)
    assert type(error) is kind
    assert (error.code, error.reason) == CODES[kind]
    assert (error.details["provider"], error.details["model"]) == ("groq", "own-model")
    assert len(upstream.chats) == 1


@pytest.mark.parametrize(("hang", "waited"), [("headers", "first"), ("first", "first"), ("next", "next")])
async def test_a_hang_ends_in_time_and_closes_the_connection(upstream: Upstream, hang: str, waited: str) -> None:
    upstream.default = Act(hang=hang)
    error = await failure(upstream, groq_timeout_s=0.2, llm_idle_timeout_s=0.1, llm_retries=3)
    assert isinstance(error, LlmTimeoutError)
    assert (error.code, error.reason) == (Code.DEADLINE_EXCEEDED, "LLM_TIMEOUT")
    assert f"no {waited} token" in error.message
    await until(lambda: upstream.chats[0].left_at)
    assert len(upstream.chats) == 1


@pytest.mark.parametrize("act", [Act(cut_after=2, pause_s=0.02), Act(finish=None, done=False, usage="never", pause_s=0.02)])
async def test_an_answer_cut_short_is_an_error_and_never_tried_again(upstream: Upstream, act: Act) -> None:
    upstream.default = act
    deltas = []
    async with LlmRouter(settings_for(upstream, llm_retries=3)) as router:
        with pytest.raises(LlmUnavailableError):
            async for piece in router.stream(ask()):
                deltas.append(piece)
    assert deltas
    assert len(upstream.chats) == 1


@pytest.mark.parametrize(
    ("act", "estimated"),
    [
        (Act(hang="end", done=False), False),
        (Act(hang="end", done=False, usage="never"), True),
        (Act(cut_after=4, pause_s=0.02), True),
        (Act(cut_after=5, pause_s=0.02), False),
    ],
    ids=["silent", "silent without usage", "cut before its usage", "cut after its usage"],
)
async def test_an_answer_that_said_it_ends_is_whole_whatever_comes_then(upstream: Upstream, act: Act, estimated: bool) -> None:
    upstream.then(act)
    async with LlmRouter(settings_for(upstream, llm_idle_timeout_s=0.2)) as router:
        deltas, end = await told(router.stream(ask()))
    assert "".join(deltas) == TEXT
    assert (end.finish_reason, end.usage.estimated) == ("stop", estimated)


async def test_counts_that_cannot_be_are_estimated(upstream: Upstream) -> None:
    counts = b'data: {"choices":[{"delta":{"content":"hola"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1e30}}\n\n'
    upstream.then(Act(raw=counts))
    async with LlmRouter(settings_for(upstream)) as router:
        _, end = await told(router.stream(ask()))
    assert end.usage.estimated
    assert 0 < end.usage.total_tokens < 100


async def test_a_key_that_no_header_can_carry_is_told_as_such_and_not_shown(
    upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    error = await failure(upstream, groq_api_key="\u201cpasted\u201d")
    assert type(error) is LlmKeyRejectedError
    assert "Set GROQ_API_KEY" in error.message
    assert "pasted" not in caplog.text + "".join(traceback.format_exception(error))


async def test_a_server_that_is_not_there(upstream: Upstream) -> None:
    settings = settings_for(upstream)
    await upstream.stop()
    async with LlmRouter(settings) as router:
        with pytest.raises(LlmUnavailableError, match="cannot be reached"):
            await told(router.stream(ask()))
    await upstream.start()


async def test_what_fails_before_the_first_token_is_tried_again(upstream: Upstream) -> None:
    upstream.then(Act(500), Act(429), Act(cut_after=0))
    async with LlmRouter(settings_for(upstream, llm_retries=3)) as router:
        assert "".join((await told(router.stream(ask())))[0]) == TEXT
    assert len(upstream.chats) == 4


async def test_retry_after_is_waited_for_and_not_when_it_is_long(upstream: Upstream) -> None:
    upstream.then(Act(429, {"retry-after-ms": "120"}))
    async with LlmRouter(settings_for(upstream, llm_retries=2)) as router:
        started = time.monotonic()
        await told(router.stream(ask()))
        assert time.monotonic() - started >= 0.12
        upstream.then(Act(429, {"retry-after": "90"}))
        with pytest.raises(LlmRateLimitedError) as caught:
            await told(router.stream(ask()))
    assert caught.value.retry_after_s == 90
    assert len(upstream.chats) == 3


async def test_the_breaker_stops_asking_and_a_probe_closes_it(upstream: Upstream) -> None:
    upstream.default = Act(500)
    async with LlmRouter(settings_for(upstream, llm_breaker_failures=2, llm_breaker_open_s=0.15)) as router:
        for _ in range(4):
            with pytest.raises(LlmUnavailableError):
                await told(router.stream(ask()))
        assert len(upstream.chats) == 2
        upstream.default = Act()

        async def answers() -> bool:
            try:
                return bool(await told(router.stream(ask())))
            except LlmUnavailableError as error:
                assert error.retry_after_s
                return False

        await until(answers)
        await told(router.stream(ask()))


async def test_closing_the_stream_closes_the_connection_within_100_ms(upstream: Upstream) -> None:
    upstream.default = Act(words=["x"] * 1000, pause_s=0.01)
    async with LlmRouter(settings_for(upstream)) as router:
        stream = router.stream(ask())
        assert await anext(stream) == "x"
        closed = time.monotonic()
        await stream.aclose()
        assert await until(lambda: upstream.chats[0].left_at) - closed < 0.1


@pytest.mark.parametrize("hang", ["headers", "first", "next"])
async def test_cancelling_the_reader_closes_the_connection_within_100_ms(upstream: Upstream, hang: str) -> None:
    upstream.default = Act(hang=hang)

    async def read(router: LlmRouter) -> None:
        async with aclosing(router.stream(ask())) as pieces:
            async for _ in pieces:
                pass

    async with LlmRouter(settings_for(upstream)) as router:
        task = asyncio.ensure_future(read(router))
        await until(lambda: upstream.chats)
        task.cancel()
        cancelled = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await until(lambda: upstream.chats[0].left_at) - cancelled < 0.1


async def test_a_slow_reader_is_not_the_provider_s_silence(upstream: Upstream) -> None:
    upstream.default = Act(pause_s=0.05)
    settings = settings_for(upstream, llm_idle_timeout_s=0.15)
    async with LlmRouter(settings) as router, aclosing(router.stream(ask())) as pieces:
        texts = [await anext(pieces)]
        await asyncio.sleep(0.2)  # Longer than the provider may be silent.
        texts += [piece async for piece in pieces if isinstance(piece, str)]
    assert "".join(texts) == TEXT


@asynccontextmanager
async def closed_meanwhile() -> AsyncIterator[None]:
    """A kept connection that the server has closed, as the SDK tells of it."""
    try:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    except aiohttp.ClientError as error:
        raise groq.APITimeoutError(httpx.Request("POST", "http://localhost")) from error
    yield


@pytest.mark.parametrize("closed", [1, 4])
async def test_a_kept_connection_that_was_closed_before_the_request_costs_no_try(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, closed: int
) -> None:
    opened, kept = SdkProvider._open, [closed_meanwhile() for _ in range(closed)]
    monkeypatch.setattr(SdkProvider, "_open", lambda self, request: kept.pop() if kept else opened(self, request))
    async with LlmRouter(settings_for(upstream)) as router:
        assert "".join((await told(router.stream(ask())))[0]) == TEXT
    assert len(upstream.chats) == 1


async def test_connections_that_are_all_closed_are_a_server_that_is_down(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SdkProvider, "_open", lambda *_: closed_meanwhile())
    error = await failure(upstream)
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "LLM_UNAVAILABLE")


async def test_a_model_that_does_not_end_its_answer_is_ended(upstream: Upstream) -> None:
    upstream.then(Act(words=["x" * 300] * 5000, pause_s=0.001), Act(words=["y" * 256] * 3))
    async with LlmRouter(settings_for(upstream)) as router:
        deltas, end = await told(router.stream(ask(max_tokens=3)))
        assert "".join(deltas) == "x" * 3 * 256
        assert (end.finish_reason, end.usage.estimated) == ("length", True)
        assert end.usage.output_tokens > 0
        await until(lambda: upstream.chats[0].left_at)
        deltas, end = await told(router.stream(ask(max_tokens=3)))
    assert "".join(deltas) == "y" * 3 * 256, "the longest there may be"
    assert (end.finish_reason, end.usage.output_tokens) == ("stop", 3)


async def test_connections_are_used_again(upstream: Upstream) -> None:
    async with LlmRouter(settings_for(upstream)) as router:
        for _ in range(3):
            await told(router.stream(ask()))
    assert upstream.connections == 1


async def test_the_key_is_in_no_error_and_no_log(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for(upstream, llm_retries=1)
    assert settings.groq_api_key is not None
    key = settings.groq_api_key.get_secret_value()
    echo = {"error": {"message": f"Incorrect API key provided: {key}", "code": "invalid_api_key"}}
    seen = [repr(settings), str(settings.model_dump())]
    with caplog.at_level(logging.DEBUG):
        async with LlmRouter(settings) as router:
            for act in (Act(401, body=echo), Act(500, body=echo), Act(raw=b"data: " + key.encode() + b"\n\n"), Act()):
                upstream.then(act, act)
                try:
                    await told(router.stream(ask()))
                except LlmError as error:
                    seen += [*traceback.format_exception(error), str(error.details)]
            seen += [repr(await router.verify_key()), repr(await router.check()), repr(router.__dict__)]
    seen += [caplog.text, *(str(vars(record)) for record in caplog.records)]
    assert f"Bearer {key}" in upstream.chats[0].headers["authorization"]
    assert not [text for text in seen if key in text]


async def test_the_end_is_the_last_item(upstream: Upstream) -> None:
    async with LlmRouter(settings_for(upstream)) as router:
        pieces = [piece async for piece in router.stream(ask())]
    assert [isinstance(piece, GenerationEnd) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
