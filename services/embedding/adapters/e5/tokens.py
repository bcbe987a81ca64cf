"""Texts to token ids, as the model was trained: prefix, the model's own table of code points, special tokens.

Ids and counts agree with the wheel's loop, but for one thing: characters that the vocabulary lacks make one unknown token for a
whole run, as in the reference implementation, where the loop makes one for each.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

from tokenizers import Regex, normalizers

from common.e5 import ModelFile, build_tokenizer
from common.models import EmbeddingKind

# Texts that were counted and not computed yet: as many as wait, as a rule, and how long each may be in characters.
_MOST_AHEAD, _LONGEST_AHEAD = 1024, 8192


class Tokens:
    """The tokenizer. May be called from any thread.

    A text is counted before it waits to be computed; its ids are kept meanwhile, so that it is read once.
    """

    def __init__(self, file: ModelFile) -> None:
        self._specials = file.specials
        self._normalised = {**file.normalised, 0: " "}  # as the loop's adapter does: there a NUL would end the text
        self._tokenizer = build_tokenizer(file, normalizers.Replace(Regex(" {2,}"), " "))
        self._ahead: OrderedDict[tuple[str, EmbeddingKind], array[int]] = OrderedDict()

    def count(self, text: str, kind: EmbeddingKind) -> int:
        """Returns how many ids a text has, special ones included, before any cut; `ids` will most likely be asked for next."""
        content = array("i", self._content(text, kind))
        if len(text) <= _LONGEST_AHEAD:
            self._ahead[text, kind] = content
        if len(self._ahead) > _MOST_AHEAD:
            with suppress(KeyError):  # another thread took the last one
                self._ahead.popitem(last=False)
        return len(content) + 2

    def ids(self, text: str, kind: EmbeddingKind, most: int | None = None) -> list[int]:
        """Returns the ids, special ones included. The end of a text beyond `most` ids is cut, its last mark is kept."""
        content = self._ahead.pop((text, kind), None) or self._content(text, kind)
        return [self._specials.bos, *content[: None if most is None else most - 2], self._specials.eos]

    def _content(self, text: str, kind: EmbeddingKind) -> Sequence[int]:
        prefix = "query: " if kind is EmbeddingKind.QUERY else "passage: "
        normalised = (prefix + text).translate(self._normalised)
        ids: list[int] = self._tokenizer.encode(normalised, add_special_tokens=False).ids
        return ids
