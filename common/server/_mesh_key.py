"""Takes calls from the mesh only: the proxy adds a key to each call that goes through it."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable

from common.errors import NotFromMeshError

log = logging.getLogger("malla.server")

# The proxy overwrites it on every route, so that nobody outside can send one (envoy/parts.yaml.j2).
MESH_KEY = "x-malla-mesh-key"


class MeshKey:
    """The key of one mesh; an empty one admits every call."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def warn_if_open(self) -> None:
        """Says in the log that every call is admitted, if so."""
        if not self._key:
            log.warning("calls are taken from anyone: set MALLA_MESH_KEY_FILE to take them from the mesh only")

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Checks a call's metadata, or a request's headers. Raises NotFromMeshError without the key."""
        if self._key and not any(name == MESH_KEY and self._is_ours(value) for name, value in metadata):
            raise NotFromMeshError

    def _is_ours(self, value: str | bytes) -> bool:
        return hmac.compare_digest(self._key, value if isinstance(value, bytes) else value.encode())
