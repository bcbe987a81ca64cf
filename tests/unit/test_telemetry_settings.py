"""What the standard variables of OpenTelemetry mean for servers and proxy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from common.proxy import UPSTREAMS, ProxyConfig, Tracing, command, render
from common.telemetry import TelemetrySettings
from common.telemetry._metrics import TenantLabels
from common.telemetry._settings import export_env_file

COLLECTOR = "http://collector.example:4317"


def settings(**given: Any) -> TelemetrySettings:
    return TelemetrySettings(_env_file=None, **given)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("given", "traces", "metrics"),
    [
        ({}, "", ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, COLLECTOR, COLLECTOR),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": COLLECTOR}, COLLECTOR, ""),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR},
            "http://a:1",
            COLLECTOR,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, "", COLLECTOR),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_METRICS_EXPORTER": "none"}, COLLECTOR, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "true"}, "", ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "", ""),
    ],
)
def test_where_traces_and_metrics_go(given: dict[str, str], traces: str, metrics: str) -> None:
    told = settings(**given)
    assert (told.traces_endpoint, told.metrics_endpoint) == (traces, metrics)
    assert (Tracing.configured(told) is not None) == bool(traces), "the proxy traces where the servers do"


@pytest.mark.parametrize(
    ("endpoint", "insecure", "address"),
    [
        ("http://127.0.0.1:4317", False, ("127.0.0.1", 4317, False)),
        ("https://collector.example", False, ("collector.example", 4317, True)),
        ("collector:5317", False, ("collector", 5317, True)),
        ("collector:5317", True, ("collector", 5317, False)),
        ("https://collector:5317", True, ("collector", 5317, True)),
        ("http://[::1]:4317", False, ("::1", 4317, False)),
    ],
)
def test_an_endpoint_is_read_as_the_sdk_reads_it(endpoint: str, insecure: bool, address: tuple[str, int, bool]) -> None:
    assert settings(OTEL_EXPORTER_OTLP_INSECURE=insecure).address(endpoint) == address


@pytest.mark.parametrize(
    ("sampler", "argument", "percent"),
    [
        ("parentbased_always_on", "", 100),
        ("always_off", "", 0),
        ("parentbased_always_off", "", 0),
        ("traceidratio", "0.25", 25),
        ("parentbased_traceidratio", "0.1", 10),
        ("parentbased_traceidratio", "7", 100),
        ("parentbased_traceidratio", "nonsense", 100),
    ],
)
def test_the_proxy_keeps_the_share_of_traces_that_the_servers_would(sampler: str, argument: str, percent: float) -> None:
    assert settings(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument).sampled_percent == percent


def test_the_env_files_lines_reach_the_sdk_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("OTEL_BSP_SCHEDULE_DELAY=7\nOTEL_TRACES_SAMPLER=always_off\nGROQ_MODEL=other\n")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.delenv("OTEL_BSP_SCHEDULE_DELAY")
    monkeypatch.delenv("GROQ_MODEL", raising=False)
    export_env_file(tmp_path / ".env")
    assert os.environ["OTEL_BSP_SCHEDULE_DELAY"] == "7"
    assert os.environ["OTEL_TRACES_SAMPLER"] == "always_on"
    assert "GROQ_MODEL" not in os.environ
    monkeypatch.delenv("OTEL_BSP_SCHEDULE_DELAY")


def test_tenants_beyond_the_bound_are_one() -> None:
    labels = TenantLabels(1)
    assert [labels.of(name) for name in ("a", "b", "a")] == [
        {"malla.tenant": "a"},
        {"malla.tenant": "other"},
        {"malla.tenant": "a"},
    ]
    assert TenantLabels(0).of("a") == {}


def rendered(tmp_path: Path, tracing: Tracing | None) -> dict[str, Any]:
    proxy = ProxyConfig.laptop(
        edge_port=18080,
        mesh_port=19000,
        admin_port=19901,
        upstream_ports={name: [19100] for name in UPSTREAMS},
        jwks_path=tmp_path / "jwks.json",
        access_log_path=tmp_path / "access.log",
    )
    config: dict[str, Any] = yaml.safe_load(render(proxy.model_copy(update={"tracing": tracing})))
    return config


def managers(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [one["filter_chains"][0]["filters"][0]["typed_config"] for one in config["static_resources"]["listeners"]]


def test_without_a_collector_the_proxy_has_no_tracer_no_cluster_and_no_trace_id(tmp_path: Path) -> None:
    config = rendered(tmp_path, None)
    assert not [manager for manager in managers(config) if "tracing" in manager]
    assert "otel_collector" not in [cluster["name"] for cluster in config["static_resources"]["clusters"]]
    assert "trace_id" not in str(config["static_resources"]["listeners"])


def test_with_one_both_listeners_trace_to_it(tmp_path: Path) -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    config = rendered(tmp_path, Tracing.configured(settings(**given, OTEL_SERVICE_NAME="shop")))
    told = [manager["tracing"] for manager in managers(config)]
    assert len(told) == 2
    assert {one["provider"]["typed_config"]["service_name"] for one in told} == {"shop-proxy"}
    samplers = [one["provider"]["typed_config"]["sampler"]["typed_config"]["wrapped_sampler"] for one in told]
    assert [one["typed_config"]["sampling_percentage"]["numerator"] for one in samplers] == [500_000] * 2
    (cluster,) = [one for one in config["static_resources"]["clusters"] if one["name"] == "otel_collector"]
    assert cluster["type"] == "STRICT_DNS"
    assert "transport_socket" not in cluster
    formats = [log["typed_config"]["log_format"]["json_format"] for one in managers(config) for log in one["access_log"][:1]]
    assert [one["trace_id"] for one in formats] == ["%TRACE_ID%"] * 2


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4317", "https://collector.example:4317"])
def test_the_container_form_with_a_collector_is_valid(endpoint: str, tmp_path: Path) -> None:
    proxy = ProxyConfig.container().model_copy(
        update={
            "tracing": Tracing.configured(
                settings(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_CERTIFICATE=certifi.where())
            ),
            "access_log_path": tmp_path / "access.log",
        }
    )
    listeners = yaml.safe_load(render(proxy))["static_resources"]
    # The listeners need files of the container; what is new is checked by itself.
    tracing = listeners["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["tracing"]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "checked",
        "tracing": tracing,
        "route_config": {"virtual_hosts": []},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {
        "name": "checked",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 18081}},
        "filter_chains": [{"filters": filters}],
    }
    cluster = [one for one in listeners["clusters"] if one["name"] == "otel_collector"]
    config = {
        "node": {"id": "malla", "cluster": "malla"},
        "static_resources": {"listeners": [listener], "clusters": cluster},
    }
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    checked = subprocess.run([*command(path), "--mode", "validate"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
