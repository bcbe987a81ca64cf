"""The routing table: which servers hold which services, what is reached through the edge, and who may call whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.mtls import OPERATOR, PROXY

TENANT_PATTERN = "[a-z0-9][a-z0-9_-]{0,63}"
"""What a tenant may be called; matched as a whole."""

TIERS = ("free", "pro", "enterprise")
"""The tiers, lowest first. A token that names none is of the first."""

COLLECTOR = "otel_collector"
"""The cluster of the collector of traces; no upstream of calls."""

GATEWAY = "gateway"
"""The one upstream that speaks plain HTTP."""


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
