"""What a call centre can ask about its models and its key; and that the key is told nowhere."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest

from common.protobuf import to_dict
from common.store import Store
from tests.fakes.calls import refused
from tests.fakes.chat_bench import ChatBench, chatting, chatting_with, read
from tests.fakes.llm_upstream import Act, Upstream, made_key

CODE = grpc.StatusCode


async def test_models_are_the_live_ones_over_those_that_are_known(store: Store):
    async with chatting(store) as bench:
        bench.upstream.models.append({"id": "brand-new", "object": "model", "owned_by": "Someone", "context_window": 4096})
        models = {model.id: model for model in (await bench.call("ListModels")).models}
    assert len(models) >= 20
    assert list(models) == sorted(models)
    live = models["llama-3.1-8b-instant"]
    assert live.active
    assert live.owned_by == "Meta"
    assert live.context_window > 0
    assert live.max_output_tokens > 0
    assert (models["brand-new"].owned_by, models["brand-new"].context_window) == ("Someone", 4096)
    retired = models["llama3-70b-8192"]
    assert not retired.active
    assert retired.replaced_by in models


@pytest.mark.parametrize("status", [401, 500])
async def test_models_are_listed_while_the_provider_is_down(store: Store, status: int):
    async with chatting(store) as bench:
        bench.upstream.models_status = status
        assert len((await bench.call("ListModels")).models) >= 20


async def test_the_connection_is_tested(store: Store):
    async with chatting(store) as bench:
        tested = await bench.call("TestConnection")
        assert (tested.success, tested.provider, tested.model) == (True, "groq", "llama-3.1-8b-instant")
        assert 0 < tested.latency_ms < 10_000
        assert 1 in bench.upstream.chats[0].body.values(), "one token is enough"


@pytest.mark.parametrize(
    ("act", "code", "reason"),
    [
        (Act(status=401), CODE.FAILED_PRECONDITION, "LLM_KEY_REJECTED"),
        (Act(status=503), CODE.UNAVAILABLE, "LLM_UNAVAILABLE"),
        (Act(status=429), CODE.RESOURCE_EXHAUSTED, "LLM_RATE_LIMITED"),
    ],
)
async def test_a_connection_that_fails(store: Store, act: Act, code: grpc.StatusCode, reason: str):
    async with chatting(store) as bench:
        bench.upstream.then(act)
        failure = await refused(bench.call("TestConnection"))
        assert (failure.code, failure.reason) == (code, reason)


async def test_without_a_key(store: Store):
    async with chatting_with(store, Upstream(), configured=False) as bench:
        verified = await bench.call("VerifyApiKey")
        assert (verified.success, verified.valid, verified.provider) == (True, False, "groq")
        assert "GROQ_API_KEY" in verified.message
        assert to_dict(verified)["metadata"].items() >= {"present": False, "well_formed": False, "accepted": None}.items()
        failure = await refused(bench.call("TestConnection"))
        assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "LLM_NOT_CONFIGURED")
        assert "GROQ_API_KEY" in failure.message
        assert len((await bench.call("ListModels")).models) >= 20


@pytest.mark.parametrize(("status", "valid", "accepted"), [(200, True, True), (401, False, False), (500, False, None)])
async def test_a_key_is_verified(store: Store, status: int, valid: bool, accepted: bool | None):
    async with chatting(store) as bench:
        bench.upstream.models_status = status
        verified = await bench.call("VerifyApiKey")
        assert (verified.success, verified.valid, verified.provider) == (True, valid, "groq")
        assert verified.message
        found = {"present": True, "well_formed": True, "accepted": accepted}  # None where it could not be asked
        assert to_dict(verified)["metadata"].items() >= found.items()


async def answers_of(bench: ChatBench) -> list[Any]:
    """Everything the server says of a provider that fails by quoting the key."""
    said: list[Any] = [await bench.call("VerifyApiKey"), await bench.call("ListModels")]
    said += [await refused(bench.call("TestConnection")), await refused(bench.say())]
    said += [await read(bench.stream()), await bench.conversation()]
    return said


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_the_key_is_told_nowhere(store: Store, caplog: pytest.LogCaptureFixture, status: int):
    key = made_key()
    echo = {"error": {"message": f"Invalid API Key: {key}", "code": "invalid_api_key"}}
    caplog.set_level(logging.DEBUG)
    async with chatting(store, llm={"groq_api_key": key}) as bench:
        await bench.agent()
        bench.upstream.models_status = status
        bench.upstream.default = Act(status=status, body=echo)
        said = await answers_of(bench)
        assert bench.upstream.chats[0].headers["authorization"] == f"Bearer {key}"
    for text in (repr(said), str(said), caplog.text, *(repr(vars(record)) for record in caplog.records)):
        assert key not in text
