"""What a mesh consists of: its files, its ports, its processes."""

from __future__ import annotations

import functools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from common.identity import write_identity
from common.issuer import IssuerSettings
from common.proxy import GATEWAY, UPSTREAMS, ProxyConfig, Tracing, command, render
from common.telemetry import TelemetrySettings
from common.tokens import KeyRing
from services.cli.launcher.checks import HOST, Check, CheckKind
from services.cli.launcher.drain import drain_proxy
from services.cli.launcher.layout import Layout
from services.cli.launcher.lifeline import lifeline_path
from services.cli.launcher.options import LaunchOptions
from services.cli.launcher.ports import PortTakenError, choose_ports, is_free
from services.cli.launcher.spec import ProcessSpec, Variant
from services.cli.launcher.state import MeshState
from services.cli.settings import CliSettings

DATABASE = "database"
PROXY = "proxy"

# What a server needs before it starts. The others find each other through the proxy, at their first call.
_NEEDS = {"ingestion": (DATABASE,), "query": (DATABASE,)}

# Two, while one replaces the other.
_PROXIES = 2

_STOPS_BESIDE_PROXY = (GATEWAY, "ingestion")


@dataclass(frozen=True)
class Plan:
    """One mesh, ready to be started."""

    layout: Layout
    settings: CliSettings
    ports: dict[str, list[int]]
    keys: KeyRing

    @classmethod
    def make(cls, options: LaunchOptions, settings: CliSettings, previous: MeshState | None, *, goes_on: bool = False) -> Plan:
        """Chooses ports and writes the proxy's configuration and public keys.

        Args:
            options: What was asked for.
            settings: What is configured.
            previous: The last mesh of the data dir, whose ports are taken again where they are free.
            goes_on: Whether that mesh, or some of it, still runs: its ports are taken as they are.

        Raises:
            PortTakenError: The edge's port is not free.
        """
        layout = Layout(options.data_dir)
        for folder in (layout.logs, layout.audit, layout.database):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = KeyRing.open(layout.keys)
        ports = previous.ports if previous is not None and goes_on else _ports(options, settings, previous)
        plan = cls(layout, settings, ports, keys)
        write_identity(plan.proxy(), keys)
        layout.proxy_config.write_text(render(plan.proxy()), encoding="utf-8")
        return plan

    def proxy(self) -> ProxyConfig:
        """Returns the proxy's configuration."""
        proxy = ProxyConfig.laptop(
            edge_port=self.port("edge"),
            mesh_port=self.port("mesh"),
            admin_port=self.port("admin"),
            upstream_ports={name: self.ports[name] for name in UPSTREAMS},
            jwks_path=self.layout.jwks,
            access_log_path=self.layout.log("access"),
            audit_log_path=self.layout.audit / "edge.jsonl",
        )
        return proxy.model_copy(update={"other_issuer": IssuerSettings().other_issuer(), "tracing": Tracing.configured()})

    def port(self, name: str) -> int:
        """Returns the port of what has one."""
        return self.ports[name][0]

    @property
    def mongodb_uri(self) -> str:
        """Where the record is kept."""
        return self.settings.mongodb_uri.get_secret_value() or f"mongodb://{HOST}:{self.port(DATABASE)}"

    @property
    def shown_mongodb_uri(self) -> str:
        """The same without user and password."""
        return _shown(self.mongodb_uri)

    def specs(self) -> list[ProcessSpec]:
        """Returns the processes, each after what it needs."""
        database = [] if self.settings.mongodb_uri else [self._database()]
        servers = [self._server(name, index) for name in UPSTREAMS for index in range(len(self.ports[name]))]
        # These stop beside the proxy, not after it: it would wait for what only they end, idle WebSockets and watches of jobs.
        beside = tuple(server.name for server in servers if server.name.partition("-")[0] in _STOPS_BESIDE_PROXY)
        behind = tuple(server.name for server in servers if server.name not in beside)
        return [*database, *servers, self._proxy(behind)]

    def _database(self) -> ProcessSpec:
        pid_file = self.layout.data_dir / "database.pid"
        program = Path(sys.executable).with_name("nx-27017")
        where = ("--data-dir", str(self.layout.database), "--host", HOST, "-p", str(self.port(DATABASE)))
        return ProcessSpec(
            name=DATABASE,
            # Its log file would say again what it prints.
            command=(str(program), *where, "--log-file", "/dev/null", "--pid-file", str(pid_file)),
            log=self.layout.log(DATABASE),
            check=Check(kind=CheckKind.MONGODB, port=self.port(DATABASE)),
            stale=(pid_file,),
            lifeline=lifeline_path(self.layout.data_dir),
        )

    def _server(self, name: str, index: int) -> ProcessSpec:
        port = self.ports[name][index]
        unique = name if index == 0 else f"{name}-{index + 1}"
        is_http = name == GATEWAY
        return ProcessSpec(
            name=unique,
            command=(sys.executable, "-P", "-m", f"services.{name}"),
            log=self.layout.log(unique),
            check=Check(kind=CheckKind.HTTP if is_http else CheckKind.GRPC, port=port, path="/healthz" if is_http else ""),
            needs=tuple(need for need in _NEEDS.get(name, ()) if need != DATABASE or not self.settings.mongodb_uri),
            env={
                "MALLA_HOST": HOST,
                "MALLA_PORT": str(port),
                "MALLA_REUSE_PORT": "true",
                "MALLA_MESH_ADDRESS": f"{HOST}:{self.port('mesh')}",
                "MALLA_DATA_DIR": str(self.layout.data_dir),
                "MALLA_INDEX_DIR": str(self.layout.indexes),
                "MALLA_MESH_KEY_FILE": str(self.proxy().mesh_key_path),
                "MALLA_REVOKED_TOKENS": str(self.proxy().revoked_path),
                "MALLA_AUDIT_LOG": str(self.settings.audit_log or self.layout.audit),
                "MALLA_OUTBOX_DIR": str(self.layout.outbox),
                "MONGODB_URI": self.mongodb_uri,
                # One environment for all: each says in traces which of them it is.
                "OTEL_SERVICE_NAME": TelemetrySettings().service_name(name),
                # Plaintext on loopback, whatever certificates `.env` names for elsewhere.
                **dict.fromkeys(("MALLA_TLS_CERT", "MALLA_TLS_KEY", "MALLA_TLS_CA"), ""),
                # glibc keeps what was freed in each arena: 350 MB for a query server that needs 200, where collections change.
                "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2"),
            },
            is_shareable=True,
            grace_s=self.settings.drain_grace_s + 5,
            start_timeout_s=self.settings.start_timeout_s,
            lifeline=lifeline_path(self.layout.data_dir),
        )

    def _proxy(self, needs: tuple[str, ...]) -> ProcessSpec:
        return ProcessSpec(
            name=PROXY,
            command=tuple(command(self.layout.proxy_config)),
            log=self.layout.log(PROXY),
            check=Check(kind=CheckKind.HTTP, port=self.port("edge"), path="/readyz"),
            needs=needs,
            variants=tuple(self._proxy_variant(port) for port in self.ports["admin"]),
            is_shareable=True,
            grace_s=5.0,
            start_timeout_s=self.settings.start_timeout_s,
            lifeline=lifeline_path(self.layout.data_dir),
        )

    def _proxy_variant(self, admin_port: int) -> Variant:
        """Returns what differs between two proxies that run side by side: of their ports, they cannot share the admin's."""
        address = {"socket_address": {"address": HOST, "port_value": admin_port}}
        return Variant(
            ("--config-yaml", json.dumps({"admin": {"address": address}})),
            functools.partial(drain_proxy, admin_port, self.settings.drain_grace_s),
        )


def is_same_mesh(options: LaunchOptions, settings: CliSettings, previous: MeshState) -> bool:
    """Says whether an earlier mesh is the one that would be started now: as many processes of each kind, over one record."""
    counts = {name: len(ports) for name, ports in previous.ports.items()}
    uri = settings.mongodb_uri.get_secret_value()
    return counts == {**_wanted(options, settings), "edge": 1} and (not uri or _shown(uri) == previous.mongodb_uri)


def _wanted(options: LaunchOptions, settings: CliSettings) -> dict[str, int]:
    """Returns how many ports each has, but for the edge."""
    wanted = {"mesh": 1, "admin": _PROXIES, DATABASE: 0 if settings.mongodb_uri else 1}
    return wanted | {name: options.replicas.get(name, 1) for name in UPSTREAMS}


def _shown(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _ports(options: LaunchOptions, settings: CliSettings, previous: MeshState | None) -> dict[str, list[int]]:
    remembered = previous.ports if previous else {}
    edge = options.port if options.port is not None else next(iter(remembered.get("edge", ())), settings.edge_port)
    if edge and not is_free(edge):
        raise PortTakenError(f"Port {edge} is taken. Choose another with --port, or --port 0 for a free one.")
    ports = choose_ports({"edge": 0 if edge else 1, **_wanted(options, settings)}, remembered, exclude=edge)
    return ports | {"edge": [edge]} if edge else ports
