"""The Python client: `MallaClient` for users of the edge, `InternalClient` for programs inside the mesh."""

from common.client._client import MallaClient
from common.client._internal import InternalClient
from common.client._uploads import PIECE_BYTES

__all__ = ["PIECE_BYTES", "InternalClient", "MallaClient"]
