"""The tokenizer of multilingual-e5-small, so that chunks are measured in the model's own tokens."""

from __future__ import annotations

from common.e5 import load_tokenizer

__all__ = ["count_tokens", "load_tokenizer"]


def count_tokens(text: str) -> int:
    """Returns a text's length in tokens, without special tokens."""
    return len(load_tokenizer().encode(text, add_special_tokens=False).ids)
