"""Members of the mesh know each other by certificates: the real proxy in its container form, real servers, wrong callers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from malla.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from malla.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc
from malla.query.v1 import query_pb2, query_pb2_grpc

from common.certs import Authority
from common.channel import open_channel
from common.mtls import MeshTls
from common.proxy import GATEWAY, MAY_CALL, OPERATOR, PROXY, UPSTREAMS
from common.settings import DESCRIPTORS
from tests.e2e.edge import bearer
from tests.e2e.members import TRUST_DOMAIN, Members, members
from tests.e2e.mesh import GRPCURL
from tests.fakes.calls import metadata, refused
from tests.fakes.waiting import until

SERVERS = tuple(name for name in UPSTREAMS if name != GATEWAY)
CALLERS = (*UPSTREAMS, OPERATOR, PROXY)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Members]:
    async with members(tmp_path_factory.mktemp("members")) as running:
        yield running


def call(channel: grpc.aio.Channel, server: str) -> Any:
    """Calls a method of a server."""
    made: dict[str, Callable[[], Any]] = {
        "embedding": lambda: embedding_pb2_grpc.InternalEmbeddingServiceStub(channel).InternalEmbed(
            embedding_pb2.InternalEmbedRequest(texts=["hola"]), metadata=metadata(), timeout=10
        ),
        "ingestion": lambda: ingestion_pb2_grpc.IngestionServiceStub(channel).ListCollections(
            ingestion_pb2.ListCollectionsRequest(), metadata=metadata(), timeout=10
        ),
        "query": lambda: query_pb2_grpc.QueryServiceStub(channel).Search(
            query_pb2.SearchRequest(collection_id="c", query="hola"), metadata=metadata(), timeout=10
        ),
    }
    return made[server]()


async def refusals(mesh: Members) -> dict[str, int]:
    """Returns how many handshakes the mesh listener refused, by reason."""
    async with httpx.AsyncClient() as http:
        rows = (await http.get(mesh.admin("/stats?filter=listener.*ssl.fail_verify"))).text.splitlines()
    port = f"_{mesh.proxy.mesh.port}."
    return {row.split(".ssl.")[1].split(":")[0]: int(row.rpartition(" ")[2]) for row in rows if port in row}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("caller", CALLERS)
async def test_a_member_calls_whom_it_may_and_nobody_else(mesh: Members, caller: str, server: str) -> None:
    async with open_channel(str(mesh.proxy.mesh), mesh=mesh.of(caller)) as channel:
        if server in MAY_CALL.get(caller, ()):
            assert (await call(channel, server)).success
        else:
            failure = await refused(call(channel, server))
            assert failure.code == grpc.StatusCode.PERMISSION_DENIED
            assert "MAY_CALL" in failure.message


async def test_an_operator_calls_with_grpcurl(mesh: Members) -> None:
    tls = mesh.of(OPERATOR)
    files = ("-cacert", str(tls.ca), "-cert", str(tls.cert), "-key", str(tls.key))
    named = ("-authority", tls.name_of(PROXY), "-protoset", str(DESCRIPTORS), "-H", "x-tenant-id: acme")
    what = ("-d", '{"texts": ["hola"]}', str(mesh.proxy.mesh), "malla.embedding.v1.InternalEmbeddingService/InternalEmbed")
    pipe = asyncio.subprocess.PIPE
    called = await asyncio.create_subprocess_exec(GRPCURL, *files, *named, *what, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    said, _ = await called.communicate()
    assert called.returncode == 0, said
    assert json.loads(said)["success"]


async def test_json_inside_the_mesh_has_the_same_policy(mesh: Members) -> None:
    url = f"https://{mesh.proxy.mesh}/internal/embed"
    answers = {}
    for caller in ("query", "gateway"):
        context = client_context(mesh.of(caller))
        async with httpx.AsyncClient(verify=context) as http:
            answers[caller] = await http.post(url, json={"texts": ["hola"]}, headers=dict(metadata()))
    assert answers["query"].status_code == 200
    assert answers["gateway"].status_code == 403
    assert answers["gateway"].json()["error"]["type"] == "CALLER_NOT_ALLOWED"


async def test_a_refused_call_is_in_the_audit_log_with_its_caller(mesh: Members) -> None:
    async with open_channel(str(mesh.proxy.mesh), mesh=mesh.of("embedding")) as channel:
        await refused(call(channel, "query"))
    wanted = f"spiffe://{TRUST_DOMAIN}/malla/embedding"

    def seen() -> list[dict[str, Any]]:
        rows = map(json.loads, mesh.proxy.audit_log_path.read_text().splitlines())
        return [row for row in rows if row["subject"] == wanted and "QueryService/Search" in row["what"]]

    assert (await until(seen))[0]["where"] == "mesh"


def stranger(kind: str, mesh: Members, folder: Path) -> MeshTls:
    """Makes a member of no mesh, or of another one, or of this one once."""
    domain, lifetime, now = TRUST_DOMAIN, timedelta(days=30), datetime.now(UTC)
    authority = mesh.authority
    if kind == "another authority":
        authority = Authority.init(folder / "ca", domain)
    elif kind == "expired":
        now -= 2 * lifetime
    elif kind == "another trust domain":
        # Signed by the right authority, as one that serves two domains would.
        authority = Authority(folder, Authority.init(folder / "ca", "other.test").certificate, mesh.authority.key)
    authority.issue("query", folder / "leaf", lifetime=lifetime, now=now)
    (folder / "leaf" / "ca.crt").write_bytes(mesh.of("query").ca.read_bytes())
    return MeshTls.of(folder / "leaf", domain)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("another authority", "fail_verify_error"),
        ("expired", "fail_verify_error"),
        ("another trust domain", "fail_verify_san"),
    ],
)
async def test_a_stranger_is_refused(mesh: Members, tmp_path: Path, kind: str, reason: str) -> None:
    before = (await refusals(mesh))[reason]
    async with open_channel(str(mesh.proxy.mesh), mesh=stranger(kind, mesh, tmp_path)) as channel:
        failure = await refused(call(channel, "embedding"))
    assert failure.code == grpc.StatusCode.UNAVAILABLE
    assert (await refusals(mesh))[reason] > before
    server = mesh.servers["embedding"]
    async with open_channel(server, mesh=stranger(kind, mesh, tmp_path), peer="embedding") as channel:
        past = await refused(call(channel, "embedding"))
    # The server trusts the authority, and asks for the proxy's id.
    other_domain = kind == "another trust domain"
    assert past.code == (grpc.StatusCode.UNAUTHENTICATED if other_domain else grpc.StatusCode.UNAVAILABLE)


async def test_a_caller_without_a_certificate_is_refused(mesh: Members) -> None:
    before = (await refusals(mesh))["fail_verify_no_cert"]
    for address, name in ((str(mesh.proxy.mesh), PROXY), (mesh.servers["embedding"], "embedding")):
        roots = grpc.ssl_channel_credentials(mesh.of("query").ca.read_bytes())
        options = [("grpc.ssl_target_name_override", mesh.of("query").name_of(name))]
        async with grpc.aio.secure_channel(address, roots, options=options) as channel:
            assert (await refused(call(channel, "embedding"))).code == grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(address) as channel:
            assert (await refused(call(channel, "embedding"))).code == grpc.StatusCode.UNAVAILABLE
    assert (await refusals(mesh))["fail_verify_no_cert"] > before


async def test_a_server_takes_calls_of_the_proxy_only(mesh: Members) -> None:
    for caller in (*UPSTREAMS, OPERATOR):
        async with open_channel(mesh.servers["embedding"], mesh=mesh.of(caller), peer="embedding") as channel:
            failure = await refused(call(channel, "embedding"))
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "NOT_FROM_MESH")
    async with open_channel(mesh.servers["embedding"], mesh=mesh.of(PROXY), peer="embedding") as channel:
        assert (await call(channel, "embedding")).success


async def test_a_caller_does_not_take_another_member_for_the_proxy(mesh: Members) -> None:
    async with open_channel(mesh.servers["embedding"], mesh=mesh.of("query")) as channel:
        assert (await refused(call(channel, "embedding"))).code == grpc.StatusCode.UNAVAILABLE


async def test_the_edge_reaches_the_servers_and_the_gateway(mesh: Members) -> None:
    async with httpx.AsyncClient(base_url=f"http://{mesh.proxy.edge}", headers=bearer()) as http:
        assert (await http.post("/api/v1/embeddings", json={"texts": ["hola"]})).status_code == 200
        assert (await http.get("/openapi.json")).json()["openapi"]


async def test_the_gateway_takes_connections_of_the_proxy_and_its_own_only(mesh: Members) -> None:
    url = f"https://{mesh.servers[GATEWAY]}/healthz"
    for caller in (PROXY, GATEWAY):
        async with httpx.AsyncClient(verify=client_context(mesh.of(caller))) as http:
            assert (await http.get(url)).status_code == 200
    for caller in ("query", OPERATOR):
        async with httpx.AsyncClient(verify=client_context(mesh.of(caller))) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(url)
    nobody = ssl.create_default_context(cafile=str(mesh.of("query").ca))
    nobody.check_hostname = False
    async with httpx.AsyncClient(verify=nobody) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(url)


@pytest.mark.parametrize("member", [PROXY, "embedding", GATEWAY])
async def test_a_renewed_certificate_is_shown_without_a_restart(mesh: Members, member: str) -> None:
    address = str(mesh.proxy.mesh) if member == PROXY else mesh.servers[member]
    asking = mesh.of(PROXY if member != PROXY else "query")
    old = serial_of(mesh.of(member))
    assert await shown(address, asking) == old
    async with open_channel(str(mesh.proxy.mesh), mesh=mesh.of("query")) as channel:
        mesh.authority.issue(member, mesh.folder / member)
        new = serial_of(mesh.of(member))
        assert new != old

        async def is_new() -> bool:
            return await shown(address, asking) == new

        await until(is_new)
        assert (await call(channel, "embedding")).success
    async with open_channel(str(mesh.proxy.mesh), mesh=mesh.of("query")) as channel:
        assert (await call(channel, "embedding")).success


async def test_an_open_channel_shows_a_renewed_certificate(mesh: Members, tmp_path: Path) -> None:
    """Who is not allowed becomes, by a new certificate in the same files, who is: nothing else tells which one was shown."""
    changing = MeshTls.of(tmp_path, TRUST_DOMAIN)
    mesh.authority.issue("embedding", tmp_path)
    async with open_channel(str(mesh.proxy.mesh), mesh=changing) as channel:
        assert (await refused(call(channel, "embedding"))).code == grpc.StatusCode.PERMISSION_DENIED
        mesh.authority.issue("query", tmp_path)

        async def answered() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return bool((await call(channel, "embedding")).success)
            return False

        await until(answered)


def client_context(tls: MeshTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.cert, tls.key)
    context.check_hostname = False  # the id is what counts
    return context


def serial_of(tls: MeshTls) -> int:
    return x509.load_pem_x509_certificate(tls.cert.read_bytes()).serial_number


async def shown(address: str, asking: MeshTls) -> int:
    """Returns the serial number of the certificate that a listener shows now."""
    host, _, port = address.rpartition(":")
    context = client_context(asking)
    context.set_alpn_protocols(["h2"])
    _reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(certificate).serial_number
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
