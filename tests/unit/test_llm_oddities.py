"""What providers may send that no provider should, and what may go on at once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from common.llm import GROQ_MODELS, LlmError, LlmUnavailableError
from common.llm.breaker import Breaker
from common.llm.failures import retry_after_s
from common.llm.routing import Choice, Routes
from common.llm.usage import counted_usage
from tests.fakes.llm_upstream import settings_for

DOWN = LlmUnavailableError("is down", provider="p")


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Wed, 01 Jan 10000 00:00:00 GMT"])
def test_a_date_that_is_none_says_nothing(date: str) -> None:
    assert retry_after_s({"retry-after": date}) is None


@pytest.mark.parametrize(
    "counts",
    [
        {"prompt_tokens": 1e30},
        {"prompt_tokens": 2**31},
        {"prompt_tokens": 2**31 - 1, "completion_tokens": 1},
        {"prompt_tokens": -1},
        {"prompt_tokens": 5, "completion_tokens": -4},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
    ],
    ids=str,
)
def test_counts_that_cannot_be_are_none(counts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tokens"):
        counted_usage("openai", "m", counts)


def test_a_probe_that_still_answers_does_not_keep_the_next_one_out() -> None:
    now = [0.0]
    breaker = Breaker("p", 1, 10, lambda: now[0])

    def fail() -> None:
        with suppress(LlmError), breaker.call("m"):
            raise DOWN

    fail()
    now[0] = 10.0
    with breaker.call("m"):  # the first probe: it answers, for a long time
        breaker.succeeded()
        fail()
        now[0] = 20.0
        with breaker.call("m"):  # the second one
            pass
        # That one left without an answer: it is open, and one at a time may probe.
        with breaker.call("m"), pytest.raises(LlmUnavailableError), breaker.call("m"):
            raise AssertionError("two probes at once")
    assert breaker.open


def test_the_end_of_an_answered_probe_lets_no_second_one_in() -> None:
    now = [0.0]
    breaker = Breaker("p", 1, 10, lambda: now[0])
    with suppress(LlmError), breaker.call("m"):
        raise DOWN
    now[0] = 10.0
    answered = breaker.call("m")
    answered.__enter__()
    breaker.succeeded()
    with suppress(LlmError), breaker.call("m"):
        raise DOWN
    now[0] = 20.0
    with breaker.call("m"):
        answered.__exit__(None, None, None)
        with pytest.raises(LlmUnavailableError), breaker.call("m"):
            raise AssertionError("two probes at once")


def test_models_that_callers_made_up_are_not_remembered() -> None:
    routes = Routes(settings_for(None), {"groq"})
    for number in range(1000):
        routes.gone(Choice("groq", f"made-up-{number}"))
        routes.gone(Choice("ollama", f"made-up-{number}"))
    for model in GROQ_MODELS:
        routes.gone(Choice("groq", model))
    assert len(routes._gone) <= len(GROQ_MODELS)
