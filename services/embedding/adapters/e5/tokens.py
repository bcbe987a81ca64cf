"""Texts to token ids, as the model was trained: prefix, the model's own table of code points, special tokens.

Ids and counts agree with the wheel's loop, but for one thing: characters that the vocabulary lacks make one unknown token for a
whole run, as in the reference implementation, where the loop makes one for each.
"""

from __future__ import annotations

from tokenizers import Regex, normalizers

from common.e5 import ModelFile, build_tokenizer
from common.models import EmbeddingKind


class Tokens:
    """The tokenizer. May be called from any thread."""

    def __init__(self, file: ModelFile) -> None:
        self._specials = file.specials
        self._normalised = {**file.normalised, 0: " "}  # as the loop's adapter does: there a NUL would end the text
        self._tokenizer = build_tokenizer(file, normalizers.Replace(Regex(" {2,}"), " "))

    def ids(self, text: str, kind: EmbeddingKind, most: int | None = None) -> list[int]:
        """Returns the ids, special ones included. The end of a text beyond `most` ids is cut, its last mark is kept."""
        prefix = "query: " if kind is EmbeddingKind.QUERY else "passage: "
        normalised = (prefix + text).translate(self._normalised)
        content = self._tokenizer.encode(normalised, add_special_tokens=False).ids
        return [self._specials.bos, *content[: None if most is None else most - 2], self._specials.eos]
