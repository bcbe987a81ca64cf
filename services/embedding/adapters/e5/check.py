"""Compares an engine with another, as int8 kernels differ between processors."""

from __future__ import annotations

from common.models import EmbeddingKind
from services.embedding.ports import Engine

_LEAST_COSINE = 0.99
_TEXTS = (
    ("¿Qué significa la luz roja del módem?", EmbeddingKind.QUERY),
    ("How do I keep my number when I change company?", EmbeddingKind.QUERY),
    ("La factura se emite el día 3 de cada mes; el primer cargo incluye la instalación.", EmbeddingKind.PASSAGE),
    ("The technician needs about two hours. An adult must be at home, with an official identification.", EmbeddingKind.PASSAGE),
)


class CheckError(Exception):
    """The engine computes something else than it should."""


def check(engine: Engine, reference: Engine) -> None:
    """Raises CheckError unless the cosine between both engines' vectors of each of a few texts is 0.99 or more."""
    for text, kind in _TEXTS:
        cosine = float(engine.embed([text], kind)[0] @ reference.embed([text], kind)[0])
        if not cosine >= _LEAST_COSINE:  # so that NaN fails too
            raise CheckError(f"cosine {cosine:.4f} to the vectors of {reference.model}, {_LEAST_COSINE} expected")
