"""Who calls, as the edge sees it: from the token alone, within the tenant's rate."""

from __future__ import annotations

import grpc
import httpx
import pytest

from tests.e2e.edge import FREE_REQUESTS, assert_shape, bearer, embed


async def test_identity_comes_from_the_token_alone(http: httpx.AsyncClient) -> None:
    spoofed = {"x-tenant-id": "globex", "x-tier": "enterprise", "x-user-id": "root", "x-scope": "admin"}
    response = await http.post("/api/v1/embeddings", json={"texts": ["a"]}, headers=bearer() | spoofed)
    seen = response.json()["metadata"]
    assert (seen["x-tenant-id"], seen["x-tier"], seen["x-user-id"]) == ("acme", "pro", "ana")
    assert seen["x-scope"] == "read write chat admin"
    assert "authorization" not in seen


async def test_a_token_without_a_tier_is_of_the_lowest(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/embeddings", json={}, headers=bearer(tenant="no-tier", tier=None, scope="read write"))
    assert response.json()["metadata"]["x-tier"] == "free"
    assert response.json()["metadata"]["x-scope"] == "read write"


async def test_rate_limit_by_tenant(http: httpx.AsyncClient, channel: grpc.aio.Channel) -> None:
    asked = [await http.post("/api/v1/embeddings", json={}, headers=bearer(tenant="many", tier="free")) for _ in range(4)]
    assert [response.status_code for response in asked] == [200] * FREE_REQUESTS + [429]
    assert asked[0].headers["x-ratelimit-limit"] == str(FREE_REQUESTS)
    assert int(asked[-1].headers["retry-after"]) > 0
    body = assert_shape(asked[-1])
    assert (body["error"]["type"], body["error"]["code"]) == ("RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
    other = await http.post("/api/v1/embeddings", json={}, headers=bearer(tenant="few", tier="free"))
    assert other.status_code == 200
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await embed(channel, "a", tenant="many", tier="free")
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
