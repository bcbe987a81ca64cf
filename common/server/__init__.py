"""The one way to start a gRPC server."""

from common.server._mesh_key import MeshKey
from common.server._scopes import check_scope, required_scope
from common.server._server import GrpcService, run_server, serving
from common.server._token import Revocations, Token

__all__ = ["GrpcService", "MeshKey", "Revocations", "Token", "check_scope", "required_scope", "run_server", "serving"]
