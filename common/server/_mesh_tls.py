"""TLS between the members of the mesh: a server takes calls of the proxy only."""

from __future__ import annotations

from typing import Any

import grpc

from common.errors import NotFromMeshError
from common.mtls import PROXY, FollowedFiles, Material, MeshTls


class MeshPeer:
    """Who may call a server; anyone where there is no TLS."""

    def __init__(self, tls: MeshTls | None) -> None:
        self._wanted = None if tls is None else tls.id_of(PROXY).encode()

    def check(self, rpc: Any) -> None:
        """Checks who is at the other end of a call. Raises NotFromMeshError for another member than the proxy.

        That it is a member at all, and its certificate good, was checked when it connected.
        """
        if self._wanted is not None and self._wanted not in rpc.auth_context().get("peer_spiffe_id", ()):
            raise NotFromMeshError


def server_credentials(tls: MeshTls) -> grpc.ServerCredentials:
    """Returns credentials that ask for a certificate of the mesh. A replaced certificate of our own is shown from then on."""
    files = FollowedFiles(tls)

    def fresh() -> grpc.ServerCertificateConfiguration | None:  # asked at each connection
        material = files.fresh()
        return None if material is None else _configuration(material)

    first = _configuration(files.current)
    # None is what gRPC documents for "as before", though its types do not say so.
    return grpc.dynamic_ssl_server_credentials(first, fresh, require_client_authentication=True)  # type: ignore[arg-type]


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], root_certificates=material.ca)
