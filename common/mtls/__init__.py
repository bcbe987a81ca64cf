"""Who a process of the mesh is to the others: a certificate with a SPIFFE id, and the files it is read from."""

from common.mtls._files import FollowedFiles, Material
from common.mtls._identity import LEAF_CA, LEAF_CERT, LEAF_KEY, OPERATOR, PROXY, MeshTls, dns_name, spiffe_id

__all__ = [
    "LEAF_CA",
    "LEAF_CERT",
    "LEAF_KEY",
    "OPERATOR",
    "PROXY",
    "FollowedFiles",
    "Material",
    "MeshTls",
    "dns_name",
    "spiffe_id",
]
