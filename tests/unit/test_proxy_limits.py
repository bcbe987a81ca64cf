"""What the proxy does about limits and their audit: rates are the tiers', refusals are written down."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from common.context import Tier
from common.proxy import EdgeSettings, ProxyConfig, render
from common.tiers import TierSettings


def edge_of(proxy: ProxyConfig) -> dict[str, Any]:
    listeners = yaml.safe_load(render(proxy))["static_resources"]["listeners"]
    edge = next(listener for listener in listeners if listener["name"] == "edge")
    manager: dict[str, Any] = edge["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def rates_of(proxy: ProxyConfig) -> dict[str, int]:
    limit = next(one for one in edge_of(proxy)["http_filters"] if one["name"] == "rate_limit")["typed_config"]
    return {
        row["entries"][1]["value"]: row["token_bucket"]["tokens_per_fill"]
        * 60
        // int(row["token_bucket"]["fill_interval"][:-1])
        for row in limit["descriptors"]
    }


def test_the_rates_are_those_of_the_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    tiers = TierSettings(_env_file=None)
    assert rates_of(ProxyConfig.container()) == {tier.value: tiers.of(tier).requests_per_minute for tier in Tier}
    monkeypatch.setenv("MALLA_TIERS", json.dumps({"free": {"requests_per_minute": 7}}))
    assert rates_of(ProxyConfig.container())["free"] == 7


def test_what_has_no_token_is_limited_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits() -> list[Any]:
        found = [
            one["typed_config"] for one in edge_of(ProxyConfig.container())["http_filters"] if one["name"] == "anonymous_limit"
        ]
        return [one["descriptors"][0]["token_bucket"]["max_tokens"] for one in found]

    assert limits() == [EdgeSettings(_env_file=None).anonymous_requests_per_minute]
    monkeypatch.setenv("MALLA_ANONYMOUS_REQUESTS_PER_MINUTE", "7")
    assert limits() == [7]
    monkeypatch.setenv("MALLA_ANONYMOUS_REQUESTS_PER_MINUTE", "0")
    assert limits() == []


def test_a_token_is_verified_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter that verifies lets pass what has no token, to be counted: the next must refuse it, before all that trusts."""
    names = [one["name"] for one in edge_of(ProxyConfig.container())["http_filters"]]
    verified = names.index("envoy.filters.http.jwt_authn")
    assert names[verified : verified + 3] == ["envoy.filters.http.jwt_authn", "anonymous_limit", "token"]
    monkeypatch.setenv("MALLA_ANONYMOUS_REQUESTS_PER_MINUTE", "0")
    names = [one["name"] for one in edge_of(ProxyConfig.container())["http_filters"]]
    assert names[verified : verified + 2] == ["envoy.filters.http.jwt_authn", "token"]


def test_a_container_writes_its_audit_to_standard_output() -> None:
    logs = edge_of(ProxyConfig.container())["access_log"]
    assert [log["typed_config"]["path"] for log in logs if log["name"].endswith("file")] == ["/dev/stdout"] * 2
    (audit,) = [log for log in logs if "filter" in log]
    assert audit["typed_config"]["log_format"]["json_format"]["where"] == "edge"


def test_no_log_of_the_proxy_holds_a_token_or_a_query() -> None:
    for log in edge_of(ProxyConfig.container())["access_log"]:
        written = json.dumps(log["typed_config"]["log_format"]).upper()
        assert "AUTHORIZATION" not in written
        assert "MESH-KEY" not in written
        assert "SEC-WEBSOCKET" not in written
        assert "%PATH(NQ:" in written
        assert "%REQ(:PATH" not in written
