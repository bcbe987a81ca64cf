"""Keeps what is costly to make in a folder, so that it is made once and not by each replica at each start."""

from __future__ import annotations

import fcntl
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


def kept(path: Path, made: Callable[[], bytes]) -> bytes:
    """Returns the converted model, from its file where it is there and whole.

    Several processes may start at once: one converts, the others wait and read. A file whose checksum is not the one beside it
    is made again. A folder that cannot be written costs the conversion at each start, no more.
    """
    try:
        return _read(path) or _make_once(path, made)
    except OSError as error:
        _log.warning("cannot keep the converted model in %s (%s): it is converted at every start", path.parent, error)
        return made()


def _make_once(path: Path, made: Callable[[], bytes]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        if model := _read(path):
            return model
        if path.exists():
            _log.warning("the converted model %s is damaged and is made again", path)
        model = made()
        _replace(path, model)
        _replace(_checksum_path(path), _checksum(model))
    return model


def _read(path: Path) -> bytes | None:
    try:
        model, checksum = path.read_bytes(), _checksum_path(path).read_bytes()
    except FileNotFoundError:
        return None
    return model if checksum == _checksum(model) else None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(path.suffix + ".partial")  # one writer at a time: the lock is held
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # half of it would only fill the disk further
        raise


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _checksum(model: bytes) -> bytes:
    return hashlib.sha256(model).hexdigest().encode()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file closes, also by a process that is killed
        yield
