"""One way to write each word, so that what is searched for is found however a program wrote it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from itertools import accumulate

from services.ingestion.domain.texts import Extracted

# Soft hyphens and zero-width characters inside words (the joiners of Arabic and Indian scripts are letters' business and stay),
# and control characters, which no index and no model reads.
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")
_LINE_ENDS = re.compile("\r\n?|[\u0085\u2028\u2029]")
# Typographic ligatures, as PDFs have them: ﬁ for fi.
_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}


def normalised(extracted: Extracted) -> Extracted:
    """Returns a document with its text in Unicode's composed form (NFC, UAX 15) and without what nobody sees."""
    borders = [*extracted.page_starts[1:], len(extracted.text)]
    pages = [_normalised(extracted.text[start:end]) for start, end in zip([0, *borders], borders, strict=False)]
    starts = tuple(accumulate(map(len, pages[:-1]), initial=0)) if extracted.page_starts else ()
    return replace(extracted, text="".join(pages), title=_normalised(extracted.title), page_starts=starts)


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFC", _UNSEEN.sub("", _LINE_ENDS.sub("\n", text)).translate(_LIGATURES))
