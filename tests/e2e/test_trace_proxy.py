"""The proxy with and without a collector, in front of a stand-in that tells what reached it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from common.proxy import UPSTREAMS, ProxyConfig, Tracing
from tests.e2e import edge_backend
from tests.e2e.edge import bearer, free_ports, laptop, running
from tests.fakes.otlp import running_collector, settings_for
from tests.fakes.waiting import until

BODY = {"texts": ["hola"]}


@asynccontextmanager
async def proxied(folder: Path, collector: str, **more: str) -> AsyncIterator[tuple[httpx.AsyncClient, ProxyConfig]]:
    (port,) = free_ports(1)
    tracing = Tracing.configured(settings_for(collector, **more))
    proxy = laptop(folder, {name: [port] for name in UPSTREAMS}).model_copy(update={"tracing": tracing})
    async with (
        edge_backend.replica(port),
        running(proxy, lambda answer: answer.status_code == 200),
        httpx.AsyncClient(base_url=f"http://{proxy.edge}", headers=bearer(), timeout=20) as http,
    ):
        yield http, proxy


async def seen_by_server(http: httpx.AsyncClient, **headers: str) -> dict[str, str]:
    answer = await http.post("/api/v1/embeddings", json=BODY, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["metadata"])


async def test_without_a_collector_no_header_is_added_and_a_callers_own_passes(tmp_path: Path) -> None:
    own = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    async with proxied(tmp_path, "") as (http, _):
        assert "traceparent" not in await seen_by_server(http)
        assert (await seen_by_server(http, traceparent=own))["traceparent"] == own


async def test_the_sampler_decides_which_traces_begin_and_a_caller_about_its_own(tmp_path: Path) -> None:
    async with (
        running_collector() as collector,
        proxied(tmp_path, collector.endpoint, OTEL_TRACES_SAMPLER="parentbased_always_off") as (http, _),
    ):
        for request_id in ("same", "other"):
            assert (await seen_by_server(http, **{"x-request-id": request_id}))["traceparent"].endswith("-00")
        own = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        assert (await seen_by_server(http, traceparent=own))["traceparent"].endswith("-01")
        await until(lambda: collector.spans)
    assert {span.trace_id for span in collector.spans} == {own.split("-")[1]}


async def test_a_collector_that_is_away_fails_no_call(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    async with proxied(tmp_path, f"http://127.0.0.1:{nobody}") as (http, _):
        seen = await asyncio.gather(*(seen_by_server(http) for _ in range(50)))
    assert all("traceparent" in one for one in seen)


async def test_each_call_is_a_trace_of_its_own_and_its_log_line_names_it(tmp_path: Path) -> None:
    async with running_collector() as collector, proxied(tmp_path, collector.endpoint) as (http, proxy):
        traceparents = [(await seen_by_server(http, **{"x-request-id": "same"}))["traceparent"] for _ in range(2)]
        answer = await http.post("/api/v1/embeddings?secret=hunter2", json=BODY)
        assert answer.status_code == 400
        ids = {text.split("-")[1] for text in traceparents}
        assert len(ids) == 2

        def logged() -> set[str]:
            rows = [json.loads(line) for line in proxy.access_log_path.read_text().splitlines()]
            return {row["trace_id"] for row in rows if row.get("trace_id")}

        await until(lambda: ids <= logged())
        await until(lambda: ids <= {span.trace_id for span in collector.spans} and len(collector.spans) >= 5)
    told = collector.texts()
    assert "hunter2" not in told, "a query string may hold anything"
    assert bearer()["authorization"].split(".")[0] not in told
