"""Asks the server of this container how it is: exit status 0 when it serves. Containers run it; it needs no other tool.

Run: python -m common.healthcheck query    with the server's own environment (MALLA_PORT, MALLA_TLS_…)
"""

from __future__ import annotations

import http.client
import ssl
import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.mtls import FollowedFiles, MeshTls
from common.settings import ServerSettings

_TIMEOUT_S = 3.0
_HOST = "127.0.0.1"
_OVER_HTTP = "gateway"


def grpc_serves(server: str, settings: ServerSettings) -> bool:
    """Whether a gRPC server says that it serves."""
    with _channel(server, f"{_HOST}:{settings.port}", settings.mesh_tls()) as channel:
        asked = health_pb2.HealthCheckRequest()
        answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=_TIMEOUT_S, wait_for_ready=True)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(server: str, address: str, tls: MeshTls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address)
    # Its own certificate is what it shows, and what it is asked with.
    own = FollowedFiles(tls).current
    options = [("grpc.ssl_target_name_override", tls.name_of(server))]
    credentials = grpc.ssl_channel_credentials(own.ca, own.key, own.cert)
    return grpc.secure_channel(address, credentials, options)


def http_serves(settings: ServerSettings) -> bool:
    """Whether an HTTP server answers its health path with success."""
    connection = _connection(settings)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


def _connection(settings: ServerSettings) -> http.client.HTTPConnection:
    tls = settings.mesh_tls()
    if tls is None:
        return http.client.HTTPConnection(_HOST, settings.port, timeout=_TIMEOUT_S)
    context = FollowedFiles(tls).context(ssl.Purpose.SERVER_AUTH)
    context.check_hostname = False  # the certificate names a member, not an address; its authority is checked
    return http.client.HTTPSConnection(_HOST, settings.port, timeout=_TIMEOUT_S, context=context)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    if len(arguments) != 1:
        sys.stderr.write(f"{(__doc__ or '').strip()}\n")
        return 2
    (server,), settings = arguments, ServerSettings()
    try:
        serves = http_serves(settings) if server == _OVER_HTTP else grpc_serves(server, settings)
    except (OSError, http.client.HTTPException, grpc.RpcError) as error:
        sys.stderr.write(f"does not serve: {type(error).__name__}\n")
        return 1
    return 0 if serves else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
