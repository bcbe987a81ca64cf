"""What a message means in its conversation: that it follows up on those before, or asks for a person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_PERSONA = (
    r"(?:(?:una?|el|la|su|algun|alguna|otro|otra)\s+)?(?:ser\s+|buena?\s+)?"
    r"(?:persona|human[oa]|agente|asesora?|operadora?|representante|ejecutiv[oa]|supervisora?)\b"
)
_PERSON = (
    r"(?:(?:an?|the|your|some|another)\s+)?(?:real\s+|live\s+|actual\s+|human\s+)?"
    r"(?:person|human|agent|representative|operator|advis[oe]r|supervisor)\b(?!['’]s)"
)
# Orders and wishes only: "I talked to an agent" and "a plan for one person" ask for nobody. Spanish without its accents.
_ASKS_FOR_PERSON = re.compile(
    rf"\b(?:hablar|chatear|comunicarme|contactar|contactarme)\s+con\s+(?:{_PERSONA}|alguien\b)"
    rf"|\b(?:pas|comuni[cq]|transf|contact|pon|deriv)\w*me\s+(?:con|a)\s+{_PERSONA}"
    rf"|\bme\s+(?:pasas?|pasan|comunicas?|comunican|transfieres?|transfieren|pones?|ponen)\s+(?:con|a)\s+{_PERSONA}"
    rf"|\bme\s+atiend\w+\s+{_PERSONA}"
    rf"|\b(?:quiero|quisiera|necesito|prefiero|deseo)\s+(?:a\s+)?una?\s+{_PERSONA}(?!\s+de\b)"
    rf"|\b(?:talk|speak|chat)\s+(?:to|with)\s+(?:{_PERSON}|some(?:one|body)\b)"
    rf"|\b(?:connect|transfer|put|pass)\s+me\s+(?:through\s+|over\s+)?(?:to|with)\s+{_PERSON}"
    rf"|\b(?:want|need|get\s+me|give\s+me)\s+(?:{_PERSON}|some(?:one|body)\s+real\b)",
    re.IGNORECASE,
)
_ACCENTS = str.maketrans("áéíóúÁÉÍÓÚ", "aeiouAEIOU")
_LEANS_ON_CONTEXT = re.compile(
    r"^\W*(y|e|o|pero|entonces|and|but|or|so|then|what about|how about)\b"
    r"|\b(eso|esa|ese|esto|esta|este|esos|esas|ello|lo mismo|la misma|el mismo|ahí|allí)\b"
    r"|\b(it|that|those|these|this|there|they|them|same)\b",
    re.IGNORECASE,
)
# "[1]", and "[1, 2]" as some models write it.
_CITED = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_FEW_WORDS = 4
_MOST_TOGETHER = 3


def asks_for_person(message: str) -> bool:
    """Whether the visitor asks for a human, in Spanish or English."""
    composed = unicodedata.normalize("NFC", message)
    return _ASKS_FOR_PERSON.search(composed.translate(_ACCENTS)) is not None


def search_text(message: str, asked: Sequence[str]) -> str:
    """Returns what to search for: the message, behind what it leans on of the visitor's messages before it, oldest first.

    A message leans on the one before where it is short or points back. Where that one points back as well, what both are about
    was said before it.
    """
    together = [message]
    leans = len(message.split()) <= _FEW_WORDS or _points_back(message)
    for earlier in reversed(asked):
        if not leans or len(together) == _MOST_TOGETHER:
            break
        together.insert(0, earlier)
        leans = _points_back(earlier)
    return "\n".join(together)


def _points_back(message: str) -> bool:
    return _LEANS_ON_CONTEXT.search(message) is not None


def cited_positions(answer: str, passages: int) -> list[int]:
    """Returns the positions, from 0, of the passages an answer cites, in order. Numbers of no passage are passed over."""
    numbers = {int(number) for cited in _CITED.findall(answer) for number in cited.split(",")}
    return sorted(number - 1 for number in numbers if 1 <= number <= passages)
