"""What a message means in its conversation: that it follows up on the one before, or asks for a person."""

from __future__ import annotations

import re

_ASKS_FOR_PERSON = re.compile(
    r"\b(hablar|comunic\w*|pas[ae]\w*|transfier\w*|contact\w*|quiero|necesito|atiend\w*)\b.{0,40}"
    r"\b(persona|humano|humana|agente|asesor|asesora|operador|operadora|representante|ejecutivo|ejecutiva|supervisor|supervisora)\b"
    r"|\b(talk|speak|connect|transfer|put|want|need|get)\b.{0,40}"
    r"\b(person|human|agent|representative|operator|advisor|adviser|supervisor|someone real|somebody real)\b",
    re.IGNORECASE | re.DOTALL,
)
_LEANS_ON_CONTEXT = re.compile(
    r"^\W*(y|e|o|pero|entonces|and|but|or|so|then|what about|how about)\b"
    r"|\b(eso|esa|ese|esto|esta|este|esos|esas|ello|lo mismo|la misma|el mismo|ahí|allí)\b"
    r"|\b(it|that|those|these|this|there|they|them|same)\b",
    re.IGNORECASE,
)
_FEW_WORDS = 4


def asks_for_person(message: str) -> bool:
    """Whether the visitor asks for a human, in Spanish or English."""
    return _ASKS_FOR_PERSON.search(message) is not None


def search_text(message: str, previous: str) -> str:
    """Returns what to search for: the message, with the visitor's message before it where it leans on that one."""
    leans = len(message.split()) <= _FEW_WORDS or _LEANS_ON_CONTEXT.search(message) is not None
    return f"{previous}\n{message}" if previous and leans else message


def cited_positions(answer: str, passages: int) -> list[int]:
    """Returns the positions, from 0, of the passages an answer cites, in order. Numbers of no passage are passed over."""
    numbers = {int(number) for number in re.findall(r"\[(\d{1,3})\]", answer)}
    return sorted(number - 1 for number in numbers if 1 <= number <= passages)
