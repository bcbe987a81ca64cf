"""Compares the engine with the wheel's own loop on a few texts, since int8 kernels differ between processors.

The loop's vectors are computed once, at the conversion, and travel in the converted model: a start needs no loop.
"""

from __future__ import annotations

import base64

import numpy as np

from common.models import EmbeddingKind
from services.embedding.ports import Engine, Matrix

_LEAST_COSINE = 0.99
_TEXTS = {
    EmbeddingKind.QUERY: (
        "¿Qué significa la luz roja del módem?",
        "How do I keep my number when I change company?",
    ),
    EmbeddingKind.PASSAGE: (
        "La factura se emite el día 3 de cada mes; el primer cargo incluye la instalación y los días del mes en curso.",
        "The technician needs about two hours. An adult must be at home, with an official identification.",
    ),
}


class CheckError(Exception):
    """The engine computes something else than it should."""


def sample(engine: Engine) -> Matrix:
    """Returns the engine's vectors of the texts, (texts, dimensions) float32."""
    return np.concatenate([engine.embed(texts, kind) for kind, texts in _TEXTS.items()])


def check(engine: Engine, reference: Matrix) -> None:
    """Raises CheckError unless the cosine to the reference's vector of each text is 0.99 or more."""
    lowest = float(np.sum(sample(engine) * reference, axis=1).min())
    if not lowest >= _LEAST_COSINE:  # so that NaN fails too
        raise CheckError(f"cosine {lowest:.4f} to the vectors of the wheel's own loop, {_LEAST_COSINE} expected")


def packed(vectors: Matrix) -> str:
    """Returns the vectors as text, for the model's metadata."""
    return base64.b64encode(vectors.astype("<f4").tobytes()).decode()


def unpacked(text: str, dimensions: int) -> Matrix:
    """Returns the vectors of `packed`, (texts, dimensions) float32."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(-1, dimensions)
