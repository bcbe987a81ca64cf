"""Dense vectors in FAISS (Douze et al. 2024, arXiv 2401.08281): exact while there are few, inverted lists beyond.

Vectors are kept as half floats: half the memory, and the ten best are 99.8% the same ones. Eight-bit codes took half of that
again and stayed at 98%, the least we accept, with nothing left for the lists to lose (`bench/search.py` measures both).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from services.query.ports import Commit, Keys, Matrix

faiss: Any = _faiss  # its stubs do not know what its Python layer accepts

FLAT_MOST = 20_000
"""Vectors up to which every one is compared: 0.6 ms for 20,000 of 384 dimensions on one core, 4 ms for 100,000."""

_HALF = faiss.ScalarQuantizer.QT_fp16
_METRIC = faiss.METRIC_INNER_PRODUCT
# An index is made anew when it holds so many times what its lists were made for, or so small a part of it.
_GROWTH, _SHRINKAGE = 3, 4
# An eighth of the lists keeps 99.5% of the ten best; the cap keeps a search of a million at 2 ms.
_PROBED_PART, _PROBED_MOST = 8, 128
_TRAINED_BY = 64  # vectors a list
_ROUNDS = 10
# Up to so many vectors, a filtered search compares all that the filter lets through.
_COMPARED_MOST = 50_000
# A bitmap of the keys is the fastest filter, while keys are not too large for their number.
_BITMAP_MOST_KEY = 1 << 26

Keyed = Sequence[int] | NDArray[np.int64]


class FaissIndex:
    """Vectors of one model. Not safe for searches during a commit; its owner takes care."""

    def __init__(self, dimensions: int, *, flat_most: int = FLAT_MOST) -> None:
        self.dimensions = dimensions
        self._flat_most = flat_most
        self._index: Any = _flat(dimensions)
        self._made_for = 0

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return len(self) * (2 * self.dimensions + 8) + self._lists * self.dimensions * 4

    @property
    def _lists(self) -> int:
        return int(getattr(self._index, "nlist", 0))

    def stage(self, keys: Keyed, rows: Matrix, remove: Keyed) -> Commit:
        """Prepares a change beside searches; the returned function makes it, and must have the index to itself."""
        added = np.asarray(keys, dtype=np.int64)
        removed = np.asarray(remove, dtype=np.int64)
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        lists = self._index.quantizer.assign(rows, 1).reshape(-1) if self._lists and len(added) else None

        def commit() -> None:
            if removed.size:
                self._index.remove_ids(_selector(removed))
            if added.size:
                self._add(added, rows, lists)

        return commit

    def _add(self, keys: NDArray[np.int64], rows: Matrix, lists: NDArray[np.int64] | None) -> None:
        if lists is None:
            self._index.add_with_ids(rows, keys)
            return
        lists = np.ascontiguousarray(lists, dtype=np.int64)
        pointers = (faiss.swig_ptr(rows), faiss.swig_ptr(keys), faiss.swig_ptr(lists))
        self._index.add_core(len(keys), *pointers)

    def search(self, row: Matrix, k: int, among: Keys) -> dict[int, float]:
        """Returns at most `k` keys with their inner products, best first."""
        wanted = None if among is None else _array(among)
        if not len(self) or (wanted is not None and not wanted.size):
            return {}
        probes = self._probes(wanted)
        found = self._search(row, k, wanted, probes)
        if probes < self._lists and len(found) < min(k, len(self) if wanted is None else len(wanted)):
            found = self._search(row, k, wanted, self._lists)  # what the filter lets through is far from the query
        return found

    def _probes(self, wanted: NDArray[np.int64] | None) -> int:
        """Returns how many lists to look at: with a filter more, so that about as many vectors are compared."""
        least = max(16, min(self._lists // _PROBED_PART, _PROBED_MOST))
        if wanted is None:
            return min(least, self._lists)
        if len(wanted) <= _COMPARED_MOST:
            return self._lists
        return min(self._lists, math.ceil(least * len(self) / len(wanted)))

    def _search(self, row: Matrix, k: int, wanted: NDArray[np.int64] | None, probes: int) -> dict[int, float]:
        selector = None if wanted is None else _selector(wanted)
        parameters = faiss.SearchParametersIVF(nprobe=probes) if self._lists else faiss.SearchParameters()
        if selector is not None:
            parameters.sel = selector
        scores, keys = self._index.search(row.reshape(1, -1), k, params=parameters)
        return {int(key): float(score) for key, score in zip(keys[0], scores[0], strict=True) if key >= 0}

    @property
    def outgrown(self) -> bool:
        """Whether another kind or number of lists fits better by now."""
        if not self._lists:
            return len(self) > self._flat_most
        return len(self) > _GROWTH * self._made_for or len(self) * _SHRINKAGE < self._made_for

    def beside(self) -> Callable[[], FaissIndex]:
        """Copies the vectors; the returned function makes a fitting index of them, however long that takes."""
        keys, halves = self._contents()

        def build() -> FaissIndex:
            index = FaissIndex(self.dimensions, flat_most=self._flat_most)
            rows = halves.astype(np.float32)
            if len(keys) > self._flat_most:
                index._index, index._made_for = _inverted(rows), len(keys)
            index._index.add_with_ids(rows, keys)
            return index

        return build

    def catch_up(self, current: FaissIndex) -> None:
        """Takes in what changed in `current` since this index was begun beside it. Keys are never used twice."""
        keys, halves = current._contents()
        own, _ = self._contents()
        missing = ~np.isin(keys, own)
        self.stage(keys[missing], halves[missing].astype(np.float32), own[~np.isin(own, keys)])()

    def _contents(self) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Returns copies of the keys and of their vectors, (n, dimensions)."""
        index = self._index
        if not self._lists:
            keys = faiss.vector_to_array(index.id_map)
            codes = faiss.vector_to_array(faiss.downcast_index(index.index).codes)
            return keys, codes.view(np.float16).reshape(-1, self.dimensions)
        lists, sizes = index.invlists, [index.invlists.list_size(i) for i in range(index.nlist)]
        filled = [(i, size) for i, size in enumerate(sizes) if size]
        if not filled:
            return np.empty(0, np.int64), np.empty((0, self.dimensions), np.float16)
        ids = np.concatenate([faiss.rev_swig_ptr(lists.get_ids(i), size) for i, size in filled])
        codes = np.concatenate([faiss.rev_swig_ptr(lists.get_codes(i), size * index.code_size) for i, size in filled])
        return ids, codes.view(np.float16).reshape(-1, self.dimensions)

    def save(self, path: Path) -> None:
        """Writes the index to a file."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, *, flat_most: int = FLAT_MOST) -> FaissIndex:
        """Reads what `save` wrote. The file must be known to be whole: FAISS trusts what it reads."""
        read = faiss.read_index(str(path))
        index = cls(read.d, flat_most=flat_most)
        index._index = read
        index._made_for = len(index) if index._lists else 0
        return index


def _flat(dimensions: int) -> Any:
    return faiss.IndexIDMap(faiss.IndexScalarQuantizer(dimensions, _HALF, _METRIC))


def _inverted(rows: Matrix) -> Any:
    """Returns trained lists, empty."""
    count, dimensions = rows.shape
    lists = max(1, int(2 * math.sqrt(count)))
    quantizer = faiss.IndexFlatIP(dimensions)
    index = faiss.IndexIVFScalarQuantizer(quantizer, dimensions, lists, _HALF, _METRIC, False)
    index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = _ROUNDS, _TRAINED_BY, 1
    index.train(rows)
    return index


def _array(among: Keys) -> NDArray[np.int64]:
    if isinstance(among, np.ndarray):
        return among.astype(np.int64, copy=False)
    return np.fromiter(among or (), dtype=np.int64)


def _selector(keys: NDArray[np.int64]) -> Any:
    if keys.min() < 0 or keys.max() >= _BITMAP_MOST_KEY:
        return faiss.IDSelectorBatch(keys)
    bits = np.zeros(int(keys.max()) + 1, dtype=np.uint8)
    bits[keys] = 1
    return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
