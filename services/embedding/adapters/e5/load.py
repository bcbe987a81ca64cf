"""Makes the engine ready: converted, loaded, checked."""

from __future__ import annotations

from pathlib import Path

from common.e5 import open_model_file
from services.embedding.adapters.e5.check import check
from services.embedding.adapters.e5.convert import Convert, cached_model, convert
from services.embedding.adapters.e5.engine import OnnxEngine
from services.embedding.ports import Engine


def load_onnx_engine(cache: Path, threads: int, reference: Engine, converted: Convert = convert) -> OnnxEngine:
    """Returns the engine.

    Raises:
        CheckError: Its vectors are not those of the reference on this machine.
        ValueError: The wheel's file has another layout.
    """
    file = open_model_file()
    engine = OnnxEngine(file, cached_model(cache, file, converted), threads)
    check(engine, reference)
    return engine
