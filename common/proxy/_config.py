"""What differs between two renderings: addresses, replicas, paths, limits."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.issuer import TokenIssuer
from common.mtls import MeshTls
from common.proxy._routes import GATEWAY, MAY_CALL, TIERS, UPSTREAMS
from common.proxy._settings import EdgeSettings
from common.settings import DESCRIPTORS
from common.telemetry import TelemetrySettings
from common.tiers import TierSettings


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
