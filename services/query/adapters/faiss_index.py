"""Dense vectors in FAISS (Douze et al. 2024, arXiv 2401.08281): exact while there are few, inverted lists beyond.

Vectors are kept as half floats: half the memory, and the ten best are 99.8% the same ones. Eight-bit codes took half of that
again and stayed at 98%, the least we accept, with nothing left for the lists to lose (`bench/search.py` measures both).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from services.query.ports import Commit, Keys, Matrix, Still

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
_PIECE = 16_384  # vectors that are copied in one step: 10 ms of 384 dimensions
_ROUNDS = 10
# Up to so many vectors, a filtered search compares all that the filter lets through.
_COMPARED_MOST = 50_000
# A bitmap of the keys is the fastest filter, while keys are not too large for their number.
_BITMAP_MOST_KEY = 1 << 26

Keyed = Sequence[int] | NDArray[np.int64]
Halves = NDArray[np.float16]


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

    def beside(self, still: Still) -> FaissIndex:
        """Makes a fitting index of the same vectors, however long that takes; `catch_up` brings what changes meanwhile.

        It reads piece by piece, each within `still`: nothing waits for long, and no vector is in memory more than twice.
        """
        index = FaissIndex(self.dimensions, flat_most=self._flat_most)
        held = len(self)
        if held > self._flat_most:
            lists = int(2 * math.sqrt(held))
            sample = [halves for _, halves in self._pieces(still, max(1, held // (_TRAINED_BY * lists)))]
            index._index, index._made_for = _inverted(np.concatenate(sample).astype(np.float32), lists), held
        for keys, halves in self._pieces(still):
            index._index.add_with_ids(halves.astype(np.float32), keys)
        return index

    def catch_up(self, current: FaissIndex) -> None:
        """Takes in what changed in `current` since this index was begun beside it. Keys are never used twice."""
        keys, own = current._keys(), self._keys()
        missing, gone = keys[~np.isin(keys, own)], own[~np.isin(own, keys)]
        for held, halves in current._parts() if missing.size else ():
            wanted = np.isin(held, missing)
            if wanted.any():
                self.stage(held[wanted], halves[wanted].astype(np.float32), [])()
        self.stage([], np.empty((0, self.dimensions), np.float32), gone)()

    def _keys(self) -> NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *(keys for keys, _ in self._parts())])

    def _pieces(self, still: Still, step: int = 1) -> Iterator[tuple[NDArray[np.int64], Halves]]:
        """Yields copies of keys and vectors, or of each `step`-th.

        One that is moved by a change between two pieces may be missed; none comes twice.
        """
        for part in range(max(1, self._lists)):
            for begin in count(0, _PIECE):
                some = slice(begin, begin + _PIECE, step)
                with still():
                    keys, halves = self._part(part)
                    keys, halves = keys[some].copy(), halves[some].copy()
                if not len(keys):
                    break
                yield keys, halves

    def _parts(self) -> Iterator[tuple[NDArray[np.int64], Halves]]:
        """Yields the parts that hold anything, as `_part` does."""
        parts = (self._part(part) for part in range(max(1, self._lists)))
        return ((keys, halves) for keys, halves in parts if len(keys))

    def _part(self, part: int) -> tuple[NDArray[np.int64], Halves]:
        """Returns the keys of a list and their vectors, (n, dimensions), where they lie: of use until the next change."""
        index = self._index
        if self._lists:
            size, lists = index.invlists.list_size(part), index.invlists
            keys, codes = lists.get_ids(part), lists.get_codes(part)
        else:
            size, stored = len(self), faiss.downcast_index(index.index)
            keys, codes = index.id_map.data(), stored.codes.data()
        if not size:
            return np.empty(0, np.int64), np.empty((0, self.dimensions), np.float16)
        halves = faiss.rev_swig_ptr(codes, size * 2 * self.dimensions).view(np.float16)
        return faiss.rev_swig_ptr(keys, size), halves.reshape(-1, self.dimensions)

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


def _inverted(sample: Matrix, lists: int) -> Any:
    """Returns so many lists, trained by a sample, empty."""
    dimensions = sample.shape[1]
    quantizer = faiss.IndexFlatIP(dimensions)
    index = faiss.IndexIVFScalarQuantizer(quantizer, dimensions, lists, _HALF, _METRIC, False)
    index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = _ROUNDS, _TRAINED_BY, 1
    index.train(sample)
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
