"""A mesh whose members know each other by certificates: the container's configuration on loopback, with real servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malla.embedding.v1 import embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2_grpc
from malla.query.v1 import query_pb2_grpc

from common.certs import Authority
from common.mtls import MeshTls
from common.proxy import MEMBERS, Endpoint, ProxyConfig, ProxyTls
from common.server import GrpcService, serving
from common.settings import DESCRIPTORS, ServerSettings
from services.gateway.bootstrap import build_app
from services.gateway.chat import ChatSockets
from services.gateway.server import DrainingServer, server_config
from services.gateway.settings import GatewaySettings
from tests.e2e import edge_backend
from tests.e2e.edge import free_ports, running

TRUST_DOMAIN = "malla.test"


@dataclass
class Members:
    """A running mesh.

    Attributes:
        folder: Of the members' folders.
        authority: Signs their certificates.
        servers: Where each listens.
    """

    folder: Path
    authority: Authority
    proxy: ProxyConfig
    servers: dict[str, str]

    def of(self, member: str) -> MeshTls:
        return member_tls(self.folder, member)

    def admin(self, path: str) -> str:
        return f"http://{self.proxy.admin}{path}"


def member_tls(folder: Path, member: str) -> MeshTls:
    return MeshTls.of(folder / member, TRUST_DOMAIN)


def tls_settings(folder: Path, member: str) -> dict[str, Any]:
    """The settings by which a process is a member."""
    tls = member_tls(folder, member)
    return {"tls_cert": tls.cert, "tls_key": tls.key, "tls_ca": tls.ca, "trust_domain": TRUST_DOMAIN}


def services_of(member: str) -> list[GrpcService]:
    embedding = edge_backend.Embedding()
    return {
        "embedding": [
            GrpcService(
                "malla.embedding.v1.EmbeddingService", embedding, embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server
            ),
            GrpcService(
                "malla.embedding.v1.InternalEmbeddingService",
                embedding,
                embedding_pb2_grpc.add_InternalEmbeddingServiceServicer_to_server,
            ),
        ],
        "ingestion": [
            GrpcService(
                "malla.ingestion.v1.IngestionService",
                edge_backend.Ingestion(),
                ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
            )
        ],
        "query": [
            GrpcService("malla.query.v1.QueryService", edge_backend.Query(), query_pb2_grpc.add_QueryServiceServicer_to_server)
        ],
    }[member]


@asynccontextmanager
async def gateway_of(settings: GatewaySettings) -> AsyncIterator[str]:
    """The real gateway; yields its address."""
    chat = ChatSockets(settings)
    server = DrainingServer(server_config(build_app(chat=chat), settings), chat.drain, grace_s=0)
    with socket.create_server((settings.host, settings.port)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield f"{settings.host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def members(folder: Path) -> AsyncIterator[Members]:
    """Makes the certificates, and runs the servers and the proxy."""
    authority = Authority.init(folder / "keys" / "mesh-ca", TRUST_DOMAIN)
    certs = folder / "certs"
    for member in MEMBERS:
        authority.issue(member, certs / member)
    edge, mesh, admin = free_ports(3)
    servers: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for member in ("embedding", "ingestion", "query"):
            settings = ServerSettings(_env_file=None, drain_grace_s=0, **tls_settings(certs, member))
            servers[member] = await stack.enter_async_context(serving(settings, services_of(member)))
        own = GatewaySettings(_env_file=None, mesh_address=f"127.0.0.1:{mesh}", **tls_settings(certs, "gateway"))
        servers["gateway"] = await stack.enter_async_context(gateway_of(own))
        proxy = ProxyConfig.container().model_copy(
            update={
                "edge": Endpoint(host="127.0.0.1", port=edge),
                "mesh": Endpoint(host="127.0.0.1", port=mesh),
                "admin": Endpoint(host="127.0.0.1", port=admin),
                "upstreams": {name: [_endpoint(address)] for name, address in servers.items()},
                "jwks_path": folder / "jwks.json",
                "descriptors_path": DESCRIPTORS,
                "access_log_path": folder / "access.log",
                "audit_log_path": folder / "audit.jsonl",
                "tls": ProxyTls(folder=certs / "proxy", trust_domain=TRUST_DOMAIN),
            }
        )
        await stack.enter_async_context(running(proxy, lambda answer: answer.status_code == 200))
        yield Members(certs, authority, proxy, servers)


def _endpoint(address: str) -> Endpoint:
    host, _, port = address.rpartition(":")
    return Endpoint(host=host, port=int(port))
