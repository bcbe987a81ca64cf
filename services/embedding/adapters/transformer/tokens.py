"""Texts to token ids, by the tokenizer of a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

Ids = NDArray[np.int64]


class Tokens:
    """What the library's own tokenizing gives, without its detour by torch. May be called from any thread.

    Raises ValueError for a model whose tokenizer is not one of the fast ones.
    """

    def __init__(self, tokenizer: Any, window: int | None) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ValueError("its tokenizer is not one that runs without torch")
        self._fast = Tokenizer.from_str(backend.to_str())
        self._fast.no_padding()
        self._fast.no_truncation()
        if window is not None:
            self._fast.enable_truncation(window)
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._pad_type_id = int(tokenizer.pad_token_type_id)
        self._pads_left = tokenizer.padding_side == "left"

    def encoded(self, texts: Sequence[str]) -> list[Encoding]:
        """Returns the tokens of each text, cut at the window."""
        return self._fast.encode_batch_fast(list(texts))

    def features(self, encoded: Sequence[Encoding]) -> dict[str, Ids]:
        """Returns what a model may ask for, each (texts, tokens of the longest) int64."""
        shape = (len(encoded), max(len(text) for text in encoded))
        made = {
            "input_ids": np.full(shape, self._pad_id, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.full(shape, self._pad_type_id, dtype=np.int64),
        }
        for row, text in enumerate(encoded):
            own = slice(-len(text), None) if self._pads_left else slice(len(text))
            made["input_ids"][row, own] = text.ids
            made["attention_mask"][row, own] = 1
            made["token_type_ids"][row, own] = text.type_ids
        return made
