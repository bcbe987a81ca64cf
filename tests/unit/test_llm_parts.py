"""The reader of streams, the meaning of answers, the retry policy and the circuit breaker."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from common.llm import (
    ContextTooLongError,
    Generation,
    GenerationEnd,
    LlmError,
    LlmKeyRejectedError,
    LlmRateLimitedError,
    LlmRequestRefusedError,
    LlmTimeoutError,
    LlmUnavailableError,
    ModelNotFoundError,
)
from common.llm.breaker import Breaker
from common.llm.failures import failure_of, reported_failure, retry_after_s
from common.llm.resilience import ResilientProvider, RetryPolicy
from common.llm.sse import BrokenStreamError, ChunkReader, ReportedError
from common.models import TokenUsage

END = GenerationEnd("stop", TokenUsage(), "m")
DOWN = LlmUnavailableError("is down", provider="p")


def event(text: str | None = None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    return b"data: " + json.dumps({"model": "m", "choices": [{"delta": delta, **more}]}).encode() + b"\r\n\r\n"


def test_texts_of_one_read_are_joined() -> None:
    reader = ChunkReader()
    assert reader.feed(event("a") + b": a comment\n\nevent: x\nid: 1\n\n" + event(None) + event("b")) == "ab"
    assert (reader.deltas, reader.alive, reader.complete) == (2, 3, False)
    assert reader.feed(event(None, finish_reason="length") + b"data: [DONE]\n\n") == ""
    assert (reader.finish_reason, reader.done, reader.model) == ("length", True, "m")


def test_bytes_cut_anywhere_give_the_same_text() -> None:
    whole = event("¿Qué ") + event("✓ tal?")
    for cut in range(len(whole)):
        reader = ChunkReader()
        assert reader.feed(whole[:cut]) + reader.feed(whole[cut:]) == "¿Qué ✓ tal?"


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"null",
        b"[]",
        b"3",
        b"{}",
        b'{"choices": [{}]}',
        b'{"choices": [3]}',
        b'{"choices": 3}',
        b'{"choices": [{"delta": {"content": 3}}]}',
        b'{"choices": [{"delta": null}]}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_chunk_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenStreamError):
        ChunkReader().feed(b"data: " + data + b"\n\n")


def test_a_line_without_an_end_is_bounded() -> None:
    reader = ChunkReader()
    with pytest.raises(BrokenStreamError):
        for _ in range(100):
            reader.feed(b"x" * 100_000)


def test_a_failure_inside_the_stream() -> None:
    with pytest.raises(ReportedError) as caught:
        ChunkReader().feed(b'data: {"error": {"message": "no", "code": "context_length_exceeded"}}\n\n')
    assert isinstance(reported_failure(caught.value.body, provider="p", model="m"), ContextTooLongError)
    assert isinstance(reported_failure("text", provider="p", model="m"), LlmUnavailableError)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"type": "exceed_context_size_error"}}, ContextTooLongError),
        (400, {"error": {"message": "Please reduce the length of the messages"}}, ContextTooLongError),
        (413, None, ContextTooLongError),
        (422, {"error": "x"}, LlmRequestRefusedError),
        (400, {"error": {"code": "model_decommissioned"}}, ModelNotFoundError),
        (404, "<html>", ModelNotFoundError),
        (401, [], LlmKeyRejectedError),
        (403, {}, LlmKeyRejectedError),
        (402, {"error": {"message": "Insufficient credits"}}, LlmRateLimitedError),
        (408, {}, LlmUnavailableError),
        (498, {"error": {"message": "capacity exceeded"}}, LlmUnavailableError),
        (502, "x", LlmUnavailableError),
        (529, None, LlmUnavailableError),
    ],
)
def test_what_an_answer_means(status: int, body: Any, kind: type[LlmError]) -> None:
    assert type(failure_of(status, body, {}, provider="p", model="m")) is kind


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


def test_retry_after_as_a_date() -> None:
    wait_s = retry_after_s({"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)})
    assert wait_s is not None
    assert 57 <= wait_s <= 60


def test_waits_grow_with_jitter_and_end() -> None:
    policy = RetryPolicy(retries=3, base_s=1.0, max_s=3.0)
    for made, longest in ((0, 1.0), (1, 2.0), (2, 3.0)):
        waits = {policy.delay_s(DOWN, made) for _ in range(50)}
        assert len(waits) > 10
        assert all(wait is not None and 0 <= wait <= longest for wait in waits)
    assert policy.delay_s(DOWN, 3) is None


@pytest.mark.parametrize(("asked_s", "least_s"), [(2.0, 2.0), (3.5, None), (None, 0.0)])
def test_what_the_provider_asks_for_is_the_least(asked_s: float | None, least_s: float | None) -> None:
    wait_s = RetryPolicy(3, 0.5, 3.0).delay_s(LlmRateLimitedError(provider="p", retry_after_s=asked_s), 0)
    assert (wait_s is None) if least_s is None else (wait_s is not None and least_s <= wait_s <= least_s + 0.5)


@pytest.mark.parametrize(
    "error",
    [
        LlmKeyRejectedError(provider="p"),
        ContextTooLongError(provider="p", model="m"),
        ModelNotFoundError(provider="p", model="m"),
        LlmTimeoutError("first token", 3, provider="p"),
    ],
)
def test_what_is_never_tried_again(error: LlmError) -> None:
    assert RetryPolicy(3, 1, 1).delay_s(error, 0) is None


@pytest.mark.parametrize(
    ("waiting_for", "provider", "setting"),
    [
        ("first token", "groq", "GROQ_TIMEOUT"),
        ("first token", "ollama", "MALLA_LLM_FIRST_TOKEN_TIMEOUT_S"),
        ("next token", "groq", "MALLA_LLM_IDLE_TIMEOUT_S"),
    ],
)
def test_a_wait_that_was_too_long_names_its_setting(waiting_for: str, provider: str, setting: str) -> None:
    assert f"raise {setting}." in LlmTimeoutError(waiting_for, 3, provider=provider).message


class Scripted:
    """A provider that plays a script: an error to raise, or pieces."""

    name = "p"

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.closed = 0

    async def stream(self, request: Generation) -> AsyncGenerator[str | GenerationEnd, None]:
        try:
            for step in self.script.pop(0):
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            self.closed += 1

    async def models(self) -> Any:
        return []

    async def check_key(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def resilient(provider: Scripted, breaker: Breaker | None = None, retries: int = 2) -> tuple[ResilientProvider, list[float]]:
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)

    return ResilientProvider(provider, RetryPolicy(retries, 1, 1), breaker or Breaker("p", 9, 1), sleep), waits


async def test_tries_before_the_first_delta_are_counted() -> None:
    inner = Scripted([DOWN], [DOWN], ["a", END])
    provider, waits = resilient(inner)
    assert [piece async for piece in provider.stream(Generation("m", []))] == ["a", END]
    assert (len(waits), inner.closed) == (2, 3)


async def test_nothing_is_tried_after_the_first_delta() -> None:
    provider, waits = resilient(Scripted(["a", DOWN], ["b", END]))
    got = []
    with pytest.raises(LlmUnavailableError):
        async for piece in provider.stream(Generation("m", [])):
            got.append(piece)
    assert (got, waits) == (["a"], [])


def failing(breaker: Breaker, error: LlmError = DOWN) -> None:
    with suppress(LlmError), breaker.call("m"):
        raise error


def test_the_breaker_opens_probes_once_at_a_time_and_closes() -> None:
    now = [0.0]
    breaker = Breaker("p", 2, 10, lambda: now[0])
    failing(breaker)
    assert not breaker.open
    failing(breaker)
    assert breaker.open
    with pytest.raises(LlmUnavailableError) as caught, breaker.call("m"):
        raise AssertionError("called while open")
    assert caught.value.retry_after_s == 10
    now[0] = 10.0
    with breaker.call("m"):
        with pytest.raises(LlmUnavailableError), breaker.call("m"):
            raise AssertionError("two probes at once")
        breaker.succeeded()
    assert not breaker.open


def test_a_failed_or_abandoned_probe_leaves_it_open() -> None:
    now = [0.0]
    breaker = Breaker("p", 1, 10, lambda: now[0])
    failing(breaker)
    now[0] = 10.0
    with suppress(GeneratorExit), breaker.call("m"):
        raise GeneratorExit
    failing(breaker)
    assert breaker.open
    with pytest.raises(LlmUnavailableError), breaker.call("m"):
        raise AssertionError("called while open")


def test_a_refusal_shows_that_the_provider_lives() -> None:
    breaker = Breaker("p", 2, 10)
    failing(breaker)
    failing(breaker, LlmKeyRejectedError(provider="p"))
    failing(breaker)
    assert not breaker.open
