"""What was consumed, as JSON through the real Envoy and by `malla usage`, after an ingest, a search, a query and vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.mesh import Mesh, create_collection, grpcurl, ingest_text, malla

TENANT = "contable"
TEXT = "La instalación de la fibra tarda 48 horas.\n\nLa factura se paga el día cinco de cada mes en cualquier banco."
SUMS = {"input_tokens", "output_tokens", "total_tokens", "cached_tokens", "estimated", "cost", "records"}


@pytest.fixture(scope="module")
def http(mesh: Mesh) -> Iterator[httpx.Client]:
    made = mesh.malla("token", "create", "--tenant", TENANT, "--tier", "free", "--json")
    with mesh.http(json.loads(made.stdout)["token"]) as client:
        create_collection(client, "cuentas", language="es")
        ingest_text(client, "cuentas", TEXT, document_id="plazos")
        ask = {"collection_id": "cuentas", "query": "¿Cuánto tarda la instalación?"}
        assert client.post("/api/v1/search", json=ask).status_code == 200
        assert client.post("/api/v1/query", json={**ask, "query": "¿Cuándo se paga?"}).status_code == 200
        embed = {"texts": ["hola"], "kind": "QUERY", "request_id": "vectors-1"}
        for _ in range(2):
            assert client.post("/api/v1/embeddings", json=embed).status_code == 200
        yield client


def read(http: httpx.Client, path: str, **params: Any) -> dict[str, Any]:
    response = http.get(path, params=params)
    assert response.status_code == 200, response.text
    assert response.json()["success"] is True
    return response.json()


def records(http: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    return read(http, "/api/v1/usage/records", **params)["records"]


def test_every_step_has_its_row(http: httpx.Client) -> None:
    found = {(row["stage"], row["operation"]): row for row in records(http)}
    assert set(found) == {
        ("ingestion_embedding", "batch"),
        ("query_embedding", "query"),
        ("statement_embedding", "query"),
        ("embedding", "query"),
    }
    for row in found.values():
        assert row["token_type"] == "embedding"
        assert row["provider"] == "embedded"
        assert isinstance(row["total_tokens"], int)
        assert row["total_tokens"] > 0
        assert row["request_id"]
    assert found["embedding", "query"]["idempotency_key"].startswith("vectors-1/")
    assert len(records(http)) == 5, "two questions were embedded, the repeated vectors once"


def test_d9_totals_groups_and_budget(http: httpx.Client) -> None:
    body = read(http, "/api/v1/usage", group_by=["day", "operation"], days=2)
    rows = records(http)
    assert set(body["totals"]) >= SUMS
    assert body["totals"]["total_tokens"] == sum(row["total_tokens"] for row in rows)
    assert body["totals"]["records"] == len(rows)
    assert isinstance(body["totals"]["total_tokens"], int), "a count is a number without a fraction"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert [(group["key"], group["day"], group["operation"]) for group in body["groups"]] == [
        (f"{today} / batch", today, "batch"),
        (f"{today} / query", today, "query"),
    ]
    assert sum(group["total_tokens"] for group in body["groups"]) == body["totals"]["total_tokens"]
    assert body["tier"] == "free"
    budget = body["budget"]
    assert (budget["token_type"], budget["used"], budget["remaining"]) == ("llm", 0, budget["limit"])
    assert budget["resets_at"].endswith("T00:00:00Z")
    of = {(budget["token_type"], budget["period"]): budget for budget in body["budgets"]}
    assert set(of) == {(kind, period) for kind in ("llm", "embedding") for period in ("day", "month")}
    assert of["embedding", "day"]["used"] == body["totals"]["total_tokens"]


@pytest.mark.parametrize("name", ["day", "model", "token_type", "operation", "provider"])
def test_each_way_to_group(http: httpx.Client, name: str) -> None:
    groups = read(http, "/api/v1/usage", group_by=name)["groups"]
    assert groups
    assert all(group["key"] == group[name] for group in groups)


def test_a_time_range(http: httpx.Client) -> None:
    now = datetime.now(UTC)
    tomorrow = (now + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    hour_ago = (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(records(http, start_time=hour_ago, end_time=tomorrow)) == 5
    assert records(http, start_time=tomorrow) == []
    assert read(http, "/api/v1/usage", end_time=hour_ago)["totals"]["records"] == 0


def test_pages_and_filters(http: httpx.Client) -> None:
    first = read(http, "/api/v1/usage/records", page_size=3)
    rest = read(http, "/api/v1/usage/records", page_size=3, page_token=first["next_page_token"])
    paged = first["records"] + rest["records"]
    assert [row["idempotency_key"] for row in paged] == [row["idempotency_key"] for row in records(http)]
    assert rest["next_page_token"] == ""
    times = [row["created_at"] for row in paged]
    assert times == sorted(times, reverse=True)
    assert records(http, token_type="llm") == records(http, session_id="none") == records(http, model="none") == []


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/api/v1/usage", {"group_by": "colour"}),
        ("/api/v1/usage", {"days": 400}),
        ("/api/v1/usage", {"days": 3, "start_time": "2026-01-01T00:00:00Z"}),
        ("/api/v1/usage", {"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}),
        ("/api/v1/usage/records", {"token_type": "gold"}),
        ("/api/v1/usage/records", {"page_token": "x"}),
        ("/api/v1/usage/records", {"page_size": -1}),
    ],
)
def test_wrong_questions_are_refused(http: httpx.Client, path: str, params: dict[str, Any]) -> None:
    refused = http.get(path, params=params)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "INVALID_ARGUMENT")


def test_the_ledger_is_the_tenants_own(mesh: Mesh, http: httpx.Client) -> None:
    with mesh.http(mesh.token_for("ajena")) as stranger:
        assert records(stranger) == []
        body = read(stranger, "/api/v1/usage", group_by="day")
        assert (body["totals"]["records"], body["groups"]) == (0, [])
        assert (body["budget"]["limit"], "remaining" in body["budget"]) == (0, False), "enterprise has no budget"


def test_grpcurl_reads_it_through_the_edge(mesh: Mesh, http: httpx.Client) -> None:
    said = json.loads(grpcurl(mesh, '{"days": 1}', "malla.query.v1.UsageService/GetUsage"))
    assert {"totals", "budget", "budgets"} <= set(said)


def test_malla_usage(mesh: Mesh, http: httpx.Client) -> None:
    token = http.headers["authorization"].removeprefix("Bearer ")
    env = {"MALLA_ADDRESS": mesh.url.removeprefix("http://"), "MALLA_TOKEN": token}
    shown = malla("usage", env=env).stdout
    assert f"{datetime.now(UTC):%Y-%m-%d}" in shown
    assert "Budgets of tier free" in shown
    assert "░" in shown
    told = json.loads(malla("usage", "--by", "operation", "--json", env=env).stdout)
    assert [group["operation"] for group in told["groups"]] == ["batch", "query"]
    assert told["totals"]["records"] == 5
    assert len(json.loads(malla("usage", "--records", "--json", env=env).stdout)["records"]) == 5
    assert "ingestion_embedding" in malla("usage", "--records", env=env).stdout
    nobody = {**env, "MALLA_TOKEN": mesh.token_for("nadie")}
    assert malla("usage", "--days", "7", env=nobody).stdout.startswith("Nothing was used in the last 7 days.")
