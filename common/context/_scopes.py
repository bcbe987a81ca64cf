"""Scopes as they travel: one header, words apart by spaces."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable

NO_SCOPE = "none"
"""What the edge says of a token without scopes: a word that opens nothing. Without any word, a call is a service's own."""

# What a header can carry as one word (RFC 6749, 3.3); a claim may be any text.
_WORD = re.compile("[!-~]+")


def scopes_of(header: str) -> frozenset[str]:
    """Returns the scopes a header names.

    A claim that was a list of words reaches us as base64url of its JSON; so the edge writes it.
    """
    words = header.split()
    named = _listed(words[0]) if len(words) == 1 else words
    return frozenset(word for word in named if _WORD.fullmatch(word)) - {NO_SCOPE}


def header_of(scopes: Iterable[str]) -> str:
    """Returns the header that names `scopes`."""
    return " ".join(sorted(scopes)) or NO_SCOPE


def _listed(word: str) -> list[str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
    except ValueError:
        return [word]
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else [word]
