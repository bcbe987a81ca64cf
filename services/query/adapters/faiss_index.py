"""Dense vectors in FAISS: exact inner product (Johnson et al. 2017, arXiv 1702.08734)."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

from services.query.ports import Keys, Matrix


class FlatIndex:
    """An exact index. Not safe for searches during a change; its owner takes care."""

    def __init__(self, dimensions: int) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))

    def add(self, keys: Sequence[int], rows: Matrix) -> None:
        """Adds (len(keys), dimensions) float32 rows under new keys."""
        self._index.add_with_ids(rows, np.asarray(keys, dtype=np.int64))

    def remove(self, keys: Sequence[int]) -> None:
        """Removes vectors; keys that are not there are passed over."""
        self._index.remove_ids(faiss.IDSelectorBatch(np.asarray(keys, dtype=np.int64)))

    def search(self, row: Matrix, k: int, among: Keys) -> dict[int, float]:
        """Returns at most `k` keys with their inner products, best first."""
        parameters = None
        if among is not None:
            wanted = np.fromiter(among, dtype=np.int64)
            if not wanted.size:
                return {}
            parameters = faiss.SearchParameters()
            parameters.sel = faiss.IDSelectorBatch(wanted)
        scores, keys = self._index.search(row.reshape(1, -1), k, params=parameters)
        return {int(key): float(score) for key, score in zip(keys[0], scores[0], strict=True) if key >= 0}
