"""Collector, Prometheus and Grafana find each other, and the dashboard asks for numbers that there are."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import promql_parser
import pytest
import yaml
from opentelemetry.metrics import Meter

from common.settings import REPOSITORY
from common.telemetry import TelemetrySettings
from common.telemetry._metrics import Measures
from tests.unit.test_compose import PUBLISHED, SERVICES, mounts

DEPLOY = REPOSITORY / "deploy"
COLLECTOR: dict[str, Any] = yaml.safe_load((DEPLOY / "collector.yaml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
SOURCES: dict[str, Any] = yaml.safe_load((DEPLOY / "grafana" / "datasources.yaml").read_text())
PROVIDERS: dict[str, Any] = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "malla.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]

# What the collector's exporter for Prometheus makes of a name, its unit and its kind
# (https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#metric-metadata-1).
UNITS = {"s": "_seconds", "By": "_bytes"}
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}


def shown(name: str, unit: str, kind: str) -> set[str]:
    stem = name.replace(".", "_") + UNITS.get(unit, "")
    assert unit in UNITS or re.fullmatch(r"\{\w+\}", unit)
    return {stem + part for part in PARTS[kind]}


def measured() -> Iterator[tuple[str, str, str]]:
    """Yields name, unit and kind of what is counted as it happens."""
    meter = MagicMock(Meter)
    Measures.of(meter, tenants=0)
    made = {"create_histogram": "histogram", "create_counter": "counter", "create_up_down_counter": "gauge"}
    for method, arguments, _ in meter.method_calls:
        yield arguments[0], arguments[1], made[method]


@functools.cache
def observed() -> list[tuple[str, str, str]]:
    """Returns the same of what is looked at when it is exported: the calls of `observe` in the code."""
    paths = [path for root in ("common", "services") for path in (REPOSITORY / root).rglob("*.py")]
    calls = [node for path in paths for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        (node.args[0].value, unit.value.value, "gauge")  # type: ignore[attr-defined]
        for node in calls
        if isinstance(node.func, ast.Name) and node.func.id == "observe"
        for unit in node.keywords
        if unit.arg == "unit"
    ]


def asked_for(node: Any) -> Iterator[str]:
    """Yields the metrics of a query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name
    for part in ("expr", "lhs", "rhs", "vector_selector"):
        if hasattr(node, part):
            yield from asked_for(getattr(node, part))
    for argument in getattr(node, "args", None) or ():
        yield from asked_for(argument)


def parsed(expression: str) -> Any:
    return promql_parser.parse(expression.replace("$__rate_interval", "1m"))


EXPORTED = {name for one in (*measured(), *observed()) for name in shown(*one)}


def test_the_code_measures_what_is_looked_for_here() -> None:
    """The list below is read off the code: an empty one would pass for anything."""
    assert {"rpc_server_call_duration_seconds_count", "malla_budget_refusals_total", "malla_index_size_bytes"} <= EXPORTED
    assert "gen_ai_client_token_usage_sum" in EXPORTED


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_number_of_a_panel_is_one_of_the_codes(expression: str) -> None:
    names = set(asked_for(parsed(expression)))
    assert names
    assert names <= EXPORTED


def test_everything_measured_is_in_the_dashboard() -> None:
    asked = {name for expression in EXPRESSIONS for name in asked_for(parsed(expression))}
    missing = [name for name, unit, kind in (*measured(), *observed()) if not shown(name, unit, kind) & asked]
    assert missing == []


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_is_provisioned_with_its_sources() -> None:
    grafana = {target: mount["source"] for target, mount in mounts(SERVICES["grafana"]).items()}
    assert grafana["/etc/grafana/provisioning/datasources/malla.yaml"] == "./deploy/grafana/datasources.yaml"
    assert grafana["/etc/grafana/provisioning/dashboards/malla.yaml"] == "./deploy/grafana/dashboards.yaml"
    (provider,) = PROVIDERS["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert grafana[home] == "./deploy/grafana/malla.json"
    assert home.startswith(provider["options"]["path"])
    sources = {one["uid"]: one for one in SOURCES["datasources"]}
    used = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert used <= set(sources)
    for uid, source in sources.items():
        assert source["url"] == f"http://{uid}:{PUBLISHED[uid]}"
        assert uid in SERVICES


def test_nobody_logs_in_to_grafana() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not [name for name in environment if "PASSWORD" in name]


def test_every_part_of_the_collector_is_used_and_there() -> None:
    pipelines = COLLECTOR["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics"}
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines.values() for name in pipeline[kind]} == set(COLLECTOR[kind])
    jaeger, _, port = COLLECTOR["exporters"]["otlp/jaeger"]["endpoint"].partition(":")
    assert (jaeger in SERVICES, port) == (True, "4317")
    assert SERVICES["jaeger"]["environment"] == {"JAEGER_LISTEN_HOST": "0.0.0.0"}


def test_servers_and_proxy_tell_the_collector() -> None:
    listens = COLLECTOR["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    for name in ("setup", "embedding", "ingestion", "query", "gateway"):
        named = SERVICES[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        default = re.fullmatch(r"\$\{OTEL_EXPORTER_OTLP_ENDPOINT:-(.+)\}", named)
        assert default is not None
        host, port, tls = TelemetrySettings(_env_file=None).address(default.group(1))
        assert (host in SERVICES, f"0.0.0.0:{port}", tls) == (True, listens, False)


def test_prometheus_reads_the_collector() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["honor_labels"]
    ((target,),) = [one["targets"] for one in job["static_configs"]]
    host, _, port = target.partition(":")
    assert host in SERVICES
    assert COLLECTOR["exporters"]["prometheus"]["endpoint"] == f"0.0.0.0:{port}"


@pytest.mark.parametrize(
    ("service", "flag", "file"),
    [
        ("collector", "--config", "collector.yaml"),
        ("prometheus", "--config.file", "prometheus.yaml"),
    ],
)
def test_each_reads_the_file_that_is_mounted(service: str, flag: str, file: str) -> None:
    arguments = " ".join(SERVICES[service]["command"]).replace("=", " ").split()
    path = arguments[arguments.index(flag) + 1]
    assert mounts(SERVICES[service])[path]["source"] == f"./deploy/{file}"
