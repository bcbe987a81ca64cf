"""What a tier does not allow is replaced by what it does, and said: models, the length of answers, the number of passages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from malla.chat.v1 import chat_pb2
from malla.query.v1 import query_pb2

from common.context import Tier
from common.llm import LlmRouter
from common.store import Store
from common.tiers import TierLimits, TierSettings
from services.query.bootstrap import _warn_about_key
from tests.fakes.calls import metadata, refused
from tests.fakes.chat_bench import TIERS, ChatBench, chatting, read
from tests.fakes.llm_upstream import Act, settings_for

LARGE, SMALL = "llama-3.3-70b-versatile", TIERS.of(Tier.FREE).preferred[0]
LONGEST = TIERS.of(Tier.FREE).max_output_tokens
DOWNGRADE = {"model_downgraded": True, "model_requested": LARGE, "model": SMALL}


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[ChatBench]:
    async with chatting(store) as bench:
        await bench.agent()
        yield bench


def call(bench: ChatBench, name: str, tier: str, **fields: Any) -> Any:
    kind = query_pb2.SearchRequest if name == "Search" else query_pb2.QueryRequest
    request = json_format.ParseDict({"collection_id": "manual", "query": "¿Qué indica la luz roja?", **fields}, kind())
    return getattr(bench.query, name)(request, metadata=metadata(tier=tier), timeout=20)


def facts(metadata: Any, *names: str) -> dict[str, Any]:
    told = {name: json_format.MessageToDict(value) for name, value in metadata.items()}
    return {name: told.get(name) for name in names or DOWNGRADE}


async def test_a_model_above_the_tier_is_downgraded_and_said(bench: ChatBench):
    answer = await bench.say(model=LARGE, tier="free")
    assert answer.answer
    assert bench.upstream.chats[-1].body["model"] == SMALL
    assert facts(answer.metadata) == DOWNGRADE


async def test_a_stream_says_it_at_its_end(bench: ChatBench):
    events, failure = await read(bench.stream(model=LARGE, tier="free"))
    assert failure is None
    assert facts(events[-1].done.metadata) == DOWNGRADE


@pytest.mark.parametrize("name", ["Query", "StreamQuery"])
async def test_a_query_is_downgraded_too(bench: ChatBench, name: str):
    called = call(bench, name, "free", model=LARGE)
    metadata = (await read(called))[0][-1].done.metadata if name == "StreamQuery" else (await called).metadata
    assert facts(metadata) == DOWNGRADE


async def test_the_agents_model_is_downgraded_as_the_callers(bench: ChatBench):
    number = await bench.agent(model=LARGE)
    answer = await bench.say(id_agente=number, tier="free")
    assert facts(answer.metadata) == DOWNGRADE


async def test_the_configured_model_is_no_exception(store: Store):
    async with chatting(store, llm={"groq_model": LARGE}) as bench:
        await bench.agent()
        answer = await bench.say(tier="free")
        assert facts(answer.metadata) == DOWNGRADE


async def test_the_model_given_instead_is_one_that_the_provider_has(bench: ChatBench):
    """Another server than Groq's serves other models: once its list is known, the best of those is taken."""
    served = TIERS.of(Tier.FREE).preferred[1]
    bench.upstream.models = [{"id": name, "object": "model", "owned_by": "us", "active": True} for name in (LARGE, served)]
    assert facts((await bench.say(model=LARGE, tier="free")).metadata) == DOWNGRADE, "without a list, the best of all"
    await bench.chat.ListModels(chat_pb2.ListModelsRequest(), metadata=metadata())
    asked = len(bench.upstream.seen)
    answer = await bench.say(model=LARGE, tier="free", session_id="s-2")
    assert bench.upstream.chats[-1].body["model"] == served
    assert facts(answer.metadata) == {**DOWNGRADE, "model": served}
    assert len(bench.upstream.seen) == asked + 1, "no request but the answer's"


async def test_the_list_is_known_from_the_start(bench: ChatBench):
    async with LlmRouter(settings_for(bench.upstream)) as router:
        small, other = router.resolve(SMALL), router.resolve("llama-3.1-8b-instant")
        assert not router.lacks(small), "nothing is known yet"
        await _warn_about_key(router)
        assert (router.lacks(small), router.lacks(other)) == (True, False)


async def test_a_provider_that_has_none_of_them_is_asked_for_the_best(bench: ChatBench):
    bench.upstream.models = [{"id": LARGE, "object": "model", "owned_by": "us", "active": True}]
    await bench.chat.ListModels(chat_pb2.ListModelsRequest(), metadata=metadata())
    await bench.say(model=LARGE, tier="free")
    assert bench.upstream.chats[-1].body["model"] == SMALL


@pytest.mark.parametrize(("model", "tier"), [(LARGE, "pro"), (LARGE, "enterprise"), (SMALL, "free"), ("our-own", "free")])
async def test_a_model_of_the_tier_stays(bench: ChatBench, model: str, tier: str):
    answer = await bench.say(model=model, tier=tier)
    assert bench.upstream.chats[-1].body["model"] == model
    assert "model_downgraded" not in answer.metadata


async def test_a_retired_model_is_judged_by_its_successor(bench: ChatBench):
    answer = await bench.say(model="llama3-70b-8192", tier="free")
    assert facts(answer.metadata) == {**DOWNGRADE, "model_requested": "llama3-70b-8192"}


@pytest.mark.parametrize(("tier", "tried"), [("free", {SMALL}), ("pro", {SMALL, LARGE})])
async def test_a_model_that_fails_is_no_way_to_one_above_the_tier(store: Store, tier: str, tried: set[str]):
    async with chatting(store, llm={"llm_fallback": LARGE}) as bench:
        await bench.agent()
        bench.upstream.default = Act(503)
        assert (await refused(bench.say(model=SMALL, tier=tier))).code is grpc.StatusCode.UNAVAILABLE
        assert {chat.body["model"] for chat in bench.upstream.chats} == tried


async def test_a_tier_that_names_no_model_refuses(store: Store):
    tiers = TierSettings(_env_file=None, tiers={Tier.FREE: TierLimits(models=("gemma*",))})
    async with chatting(store, tiers=tiers) as bench:
        await bench.agent()
        failure = await refused(bench.say(tier="free"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MODEL_ABOVE_TIER")
        assert not bench.upstream.chats
        assert not bench.accounting.rows or all(row.token_type == "embedding" for row in bench.accounting.rows.values())


async def test_an_answer_is_as_long_as_the_tier_allows(bench: ChatBench):
    answer = await bench.say(max_tokens=LONGEST + 1, tier="free")
    asked = {name: value for name, value in bench.upstream.chats[-1].body.items() if name.startswith("max_")}
    assert list(asked.values()) == [LONGEST]
    told = {"max_tokens": LONGEST, "max_tokens_requested": LONGEST + 1, "limited_by_tier": "free"}
    assert facts(answer.metadata, *told) == told
    assert "limited_by_tier" not in (await bench.say("¿Y ahora?", max_tokens=LONGEST, tier="free")).metadata


async def test_an_operators_long_answers_are_cut_for_the_tier_in_silence(store: Store):
    async with chatting(store, llm={"groq_max_tokens": LONGEST * 2}) as bench:
        await bench.agent()
        answer = await bench.say(tier="free")
        assert LONGEST in bench.upstream.chats[-1].body.values()
        assert "limited_by_tier" not in answer.metadata


@pytest.mark.parametrize("name", ["Search", "Query"])
async def test_so_many_passages_as_the_tier_allows(bench: ChatBench, name: str):
    collection = await bench.record.collection("acme", "manual")
    assert collection is not None
    most = TIERS.of(Tier.FREE).max_passages
    for number in range(most + 5):
        bench.record.publish(collection, f"d{number}", 1, f"La luz roja número {number} indica otra cosa: {'abc' * number}.")
    answer = await call(bench, name, "free", k=100, min_seq=collection.seq)
    told = {"k": most, "k_requested": 100, "limited_by_tier": "free"}
    assert facts(answer.metadata, *told) == told
    if name == "Search":
        assert len(answer.results) <= most
