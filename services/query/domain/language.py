"""Which language a question is in, of those we answer in."""

from __future__ import annotations

import re

_WORDS = {
    "es": "el la los las de del que qué en un una y es por para con no se su al cómo cuánto cuánta cuántos cuántas cuándo "
    "dónde puedo hay mi si cuál quién me tengo debo hasta tarda cuesta".split(),
    "en": "the of to and is in that it for on with as are how what when where who which do does can my i if at by an be much "
    "many long should".split(),
}
_SPANISH_SIGNS = re.compile(r"[¿¡ñáéíóú]")


def language_of(text: str, default: str = "es") -> str:
    """Returns "es" or "en"; `default` when nothing tells."""
    words = re.findall(r"\w+", text.lower())
    counts = {language: sum(word in known for word in words) for language, known in _WORDS.items()}
    counts["es"] += 2 * bool(_SPANISH_SIGNS.search(text.lower()))
    if counts["es"] == counts["en"]:
        return default if default in counts else "en"
    return max(counts, key=counts.__getitem__)
