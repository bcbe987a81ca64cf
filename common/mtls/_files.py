"""Certificates are short-lived: their files are read again when they change, and the process goes on."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass

from common.errors import InvalidArgumentError
from common.mtls._identity import MeshTls

log = logging.getLogger("malla.mtls")

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Material:
    """What the files hold; certificate and key fit each other."""

    cert: bytes
    key: bytes
    ca: bytes


class FollowedFiles:
    """A member's files. Safe to use from several threads.

    Raises InvalidArgumentError where they cannot be read or do not fit each other at the start. Later, files that are half
    replaced are left alone until the other half is there.
    """

    def __init__(self, tls: MeshTls) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        try:
            self._stamp = self._look()
            self._current = self._read()
        except (OSError, ssl.SSLError) as error:
            files = f"{tls.cert}, {tls.key} and {tls.ca}"
            hint = (
                f"{files} must hold a certificate, its key and the mesh's authorities ({error}); make them with `malla certs`"
            )
            raise InvalidArgumentError([("MALLA_TLS_CERT", hint)]) from None

    @property
    def current(self) -> Material:
        """What was read last."""
        return self._current

    def fresh(self) -> Material | None:
        """Returns what the files hold now; None where that is what was read last. Costs three calls of stat."""
        with self._lock:
            try:
                stamp = self._look()
                if stamp == self._stamp:
                    return None
                material = self._read()
                if stamp != self._look():
                    return None  # replaced while it was read
            except (OSError, ssl.SSLError) as error:
                log.warning("the mesh's certificate changed to one that cannot be used yet", extra={"reason": str(error)})
                return None
            self._stamp, self._current = stamp, material
        log.info("the mesh's certificate was replaced")
        return material

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        """Returns a context of Python's own TLS with these files, which asks the other side for a certificate of the mesh."""
        context = ssl.create_default_context(purpose, cafile=str(self._tls.ca))
        context.load_cert_chain(self._tls.cert, self._tls.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _look(self) -> Stamp:
        found = (path.stat() for path in (self._tls.cert, self._tls.key, self._tls.ca))
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def _read(self) -> Material:
        self.context(ssl.Purpose.SERVER_AUTH)  # raises where the key is another certificate's
        return Material(self._tls.cert.read_bytes(), self._tls.key.read_bytes(), self._tls.ca.read_bytes())
