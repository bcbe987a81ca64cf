"""The tokenizer of multilingual-e5-small, so that chunks are measured in the model's own tokens."""

from common.e5 import load_tokenizer

__all__ = ["load_tokenizer"]
