"""Makes the engine ready: converted, loaded, checked."""

from __future__ import annotations

from pathlib import Path

from common.e5 import open_model_file
from services.embedding.adapters.e5.check import check, unpacked
from services.embedding.adapters.e5.convert import REFERENCE, cached_model
from services.embedding.adapters.e5.engine import OnnxEngine


def load_onnx_engine(cache: Path, threads: int) -> OnnxEngine:
    """Returns the engine.

    Raises:
        CheckError: Its vectors are not those of the wheel's own loop on this machine.
        ValueError: The wheel's file has another layout.
    """
    file = open_model_file()
    engine = OnnxEngine(file, cached_model(cache, file), threads)
    check(engine, unpacked(engine.metadata[REFERENCE], engine.dimensions))
    return engine
