"""Loads a model by name or folder, and decides what computes it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np

from common.models import EmbeddingKind
from services.embedding.adapters.kept import kept
from services.embedding.adapters.sentence_transformer import Running, SentenceTransformerEngine
from services.embedding.adapters.transformer.engine import OnnxTransformerEngine
from services.embedding.adapters.transformer.export import exported, file_name
from services.embedding.adapters.transformer.tokens import Tokens
from services.embedding.ports import Engine

_log = logging.getLogger(__name__)

_LEAST_COSINE = 0.9999
_ROUNDS = 3
_WORDS = "la luz roja of the router indicates que no hay señal óptica and the bill is paid on día cinco".split()
_TEXTS = [" ".join(_WORDS[: 4 + 2 * number]) for number in range(8)]
"""What the engines are timed on: about as long as questions and short paragraphs."""

_CHECKED = [*_TEXTS, "x", "  In CAPITALS, between spaces\n", "日本語 и кириллица", " ".join(_WORDS * 40)]


class CheckError(Exception):
    """The graph computes something else than the model."""


def load_transformer(model: str, name: str, running: Running, cache: Path, threads: int) -> Engine:
    """Returns the model's engine.

    On the CPU in float32 that is onnxruntime, unless torch is faster, the model cannot be exported, or the export gives other
    vectors. Either gives the same vectors, so the one may stand in for the other at any start, under the model's one name.
    """
    torch_engine = SentenceTransformerEngine(model, name, running)
    if not _wanted(running):
        return torch_engine
    try:
        onnx_engine = _onnx(torch_engine, cache, threads)
        check(onnx_engine, torch_engine)
    except Exception as error:  # noqa: BLE001  # whatever a model's own code does to the exporter, torch computes it
        _log.warning("onnxruntime cannot compute %s (%s: %s): torch does", torch_engine.model, type(error).__name__, error)
        return torch_engine
    return onnx_engine if running.backend == "onnx" else faster(onnx_engine, torch_engine)


def _wanted(running: Running) -> bool:
    fits = running.where == "cpu" and running.is_float32
    if running.backend == "onnx" and not fits:
        _log.warning("onnxruntime computes on the CPU in float32, which the settings forbid: torch computes")
    return fits and running.backend != "torch"


def _onnx(engine: SentenceTransformerEngine, cache: Path, threads: int) -> OnnxTransformerEngine:
    loaded = engine.loaded
    tokens = Tokens(loaded.tokenizer, engine.window_tokens)
    return OnnxTransformerEngine(
        kept(cache / file_name(loaded, engine.model), lambda: exported(loaded)),
        tokens,
        engine.counted,
        name=engine.model,
        prompts={kind: engine.prompt(kind) for kind in EmbeddingKind},
        dimensions=engine.dimensions,
        window_tokens=engine.window_tokens,
        threads=threads,
    )


def check(engine: Engine, reference: Engine) -> None:
    """Raises CheckError unless both engines give the same vectors and counts, of texts of all lengths in one batch."""
    for kind in EmbeddingKind:
        if engine.count_tokens(_CHECKED, kind) != reference.count_tokens(_CHECKED, kind):
            raise CheckError("other token counts than torch's")
        cosines = np.sum(engine.embed(_CHECKED, kind) * reference.embed(_CHECKED, kind), axis=1)
        if not cosines.min() >= _LEAST_COSINE:  # so that NaN fails too
            raise CheckError(f"cosine {cosines.min():.6f} to torch's vectors, {_LEAST_COSINE} expected")


def faster(onnx_engine: Engine, torch_engine: Engine) -> Engine:
    """Returns the engine that takes less time for a few batches on this machine; they take turns."""
    best = {"onnxruntime": float("inf"), "torch": float("inf")}
    engines = {"onnxruntime": onnx_engine, "torch": torch_engine}
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            began = time.perf_counter()
            engine.embed(_TEXTS, EmbeddingKind.PASSAGE)
            best[name] = min(best[name], time.perf_counter() - began)
    winner = min(engines, key=lambda name: best[name])
    rates = ", ".join(f"{name} {len(_TEXTS) / seconds:.0f} texts/s" for name, seconds in best.items())
    _log.info("%s is computed by %s (%s)", onnx_engine.model, winner, rates)
    return engines[winner]
