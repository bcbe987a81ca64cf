"""The one way to start a gRPC server."""

from common.server._server import GrpcService, run_server, serving

__all__ = ["GrpcService", "run_server", "serving"]
