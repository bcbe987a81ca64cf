"""What compose runs, without an engine: every server in the environment that compose gives it, behind the proxy as `setup` has
configured it. Only addresses and folders are this machine's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from common.context import Tier
from common.identity import write_identity
from common.mtls import PROXY
from common.proxy import GATEWAY, Endpoint, ProxyConfig, ProxyTls, command, render
from common.settings import DESCRIPTORS, REPOSITORY
from common.setup import write_shared
from common.tokens import KeyRing
from tests.e2e.edge import free_ports
from tests.e2e.mesh import clean_env, create_collection, eventually, ingest_text
from tests.integration.conftest import mongodb_uri
from tests.unit.test_compose import SERVERS, SERVICES

__all__ = ["mongodb_uri"]

TEXT = "La instalación de la fibra tarda tres días laborables. El técnico llama antes de ir."


def environment_of(name: str, port: int, folder: Path, mesh: Endpoint, uri: str) -> dict[str, str]:
    """Returns what compose gives a server, with this machine's folders and addresses."""
    given = {key: value for key, value in SERVICES[name]["environment"].items() if value and "$" not in value}
    places = {"/run/malla/tls": folder / "certs" / name, "/etc/malla": folder, "/var/lib/malla": folder / "var"}
    for key, value in given.items():
        for there, here in places.items():
            if value.startswith(there):
                given[key] = f"{here}{value.removeprefix(there)}"
    here_only = {"MALLA_HOST": mesh.host, "MALLA_PORT": str(port), "MALLA_MESH_ADDRESS": str(mesh), "MONGODB_URI": uri}
    return {**clean_env(), **given, **here_only, "MONGODB_DATABASE": "containers", "PYTHONPATH": str(REPOSITORY)}


def proxy_of(folder: Path, replicas: dict[str, list[int]]) -> ProxyConfig:
    edge, mesh, admin = (Endpoint(host="127.0.0.1", port=port) for port in free_ports(3))
    return ProxyConfig.container().model_copy(
        update={
            "edge": edge,
            "mesh": mesh,
            "admin": admin,
            "upstreams": {name: [Endpoint(host="127.0.0.1", port=p) for p in ports] for name, ports in replicas.items()},
            "jwks_path": folder / "jwks.json",
            "descriptors_path": DESCRIPTORS,
            "access_log_path": folder / "access.log",
            "audit_log_path": folder / "audit.jsonl",
            "tls": ProxyTls(folder=folder / "certs" / PROXY),
        }
    )


class Containers:
    """The mesh that compose describes."""

    def __init__(self, folder: Path, proxy: ProxyConfig, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self.folder, self.proxy, self.processes = folder, proxy, processes
        self.token = KeyRing.open(folder / "keys").issue(tenant="acme", tier=Tier.ENTERPRISE, ttl=timedelta(hours=1))

    def http(self) -> httpx.Client:
        bearer = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=f"http://{self.proxy.edge}", headers=bearer, timeout=30)


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str) -> Iterator[Containers]:
    folder = tmp_path_factory.mktemp("containers")
    write_shared(folder)
    replicas = {name: free_ports(2 if name == "query" else 1) for name in SERVERS}
    proxy = proxy_of(folder, replicas)
    (folder / "envoy.yaml").write_text(render(proxy))
    write_identity(proxy, KeyRing.open(folder / "keys"))
    commands = {"envoy": (command(folder / "envoy.yaml", concurrency=1), clean_env())}
    for name, ports in replicas.items():
        for index, port in enumerate(ports):
            program = [sys.executable, *SERVICES[name]["command"][1:]]
            commands[f"{name}-{index}"] = (program, environment_of(name, port, folder, proxy.mesh, mongodb_uri))
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with ExitStack() as stack:
        stack.callback(_end, processes)
        for name, (program, environment) in commands.items():
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            processes[name] = subprocess.Popen(program, env=environment, cwd=folder, stdout=log, stderr=log)
        one = Containers(folder, proxy, processes)
        with one.http() as http:
            eventually(lambda: _answers(http), within_s=60, what="the mesh answers")
        yield one
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(processes, 0)


def _end(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        process.wait(60)


def _answers(http: httpx.Client) -> bool:
    return all(http.get(path).status_code == 200 for path in ("/readyz", "/docs"))


def test_a_document_goes_in_and_an_answer_comes_out(containers: Containers) -> None:
    """Ingestion and query reach embedding, the gateway reaches query, all by certificate through the proxy."""
    with containers.http() as http:
        create_collection(http, "manual", language="es")
        ingest_text(http, "manual", TEXT)
        found: list[dict[str, Any]] = http.post(
            "/api/v1/search", json={"collection_id": "manual", "query": "¿Cuánto tarda la instalación?"}
        ).json()["results"]
        assert "tres días" in found[0]["text"]
        agent = {"name": "Ana", "language": "es", "collections": ["manual"]}
        made = http.post("/api/v1/agents", json=agent).json()["agent"]["id_agente"]
    url = f"ws://{containers.proxy.edge}/api/v1/groq/chat/stream/s1/{made}"
    with connect(url, additional_headers={"authorization": f"Bearer {containers.token}"}, proxy=None) as socket:
        socket.send('{"mensaje": "¿Cuánto tarda la instalación?"}')
        events = ""
        while '"done"' not in events:
            events += str(socket.recv(timeout=30))
    assert '"error"' not in events


def test_every_health_check_of_compose_is_content(containers: Containers) -> None:
    asked = {}
    for name in SERVERS:
        port = containers.proxy.upstreams[name][0].port
        environment = environment_of(name, port, containers.folder, containers.proxy.mesh, "")
        check = [sys.executable, *SERVICES[name]["healthcheck"]["test"][2:]]
        asked[name] = subprocess.Popen(check, env=environment, cwd=containers.folder)
    assert {name: process.wait(60) for name, process in asked.items()} == dict.fromkeys(SERVERS, 0)


def test_what_is_kept_is_where_the_volumes_are(containers: Containers) -> None:
    assert list((containers.folder / "var" / "audit").glob("ingestion.jsonl"))
    assert containers.folder / "var" / "outbox" in list((containers.folder / "var").iterdir())
    assert GATEWAY not in {file.stem for file in (containers.folder / "var" / "audit").iterdir()}
