"""The one filter that keeps secrets out of what leaves a process: log lines, tracebacks, error messages and their details.

Two nets. Values that settings hold as `SecretStr` are known and removed wherever they turn up, also escaped for JSON or a URL.
What only looks like a secret is removed by its shape: somebody else's token, a key that an upstream echoes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

MASK = "[secret]"
"""What stands where a secret was."""

# Shorter ones would turn up inside ordinary words.
_SHORTEST = 6

# Each keeps its group 1, which says what was there. A value never runs over a quote or a backslash, so masked JSON stays JSON.
_SHAPES = re.compile(
    "|".join(
        (
            r"(?P<scheme>\b(?:[Bb]earer|BEARER)[ =:]+)[\w.~+/=*-]{12,}",
            r"(?P<basic>(?i:authorization)\\?[\"']?\s?[:=]\s?\\?[\"']?[Bb]asic )[\w+/=-]{6,}",
            # Groq, OpenAI and Anthropic, xAI, Hugging Face, GitHub, Google, AWS. Echoes are often masked in part: "sk-ab***yz".
            r"\b(?:gsk_|sk-|xai-|hf_|gh[opsu]_|AIza|AKIA)[\w*-]{8,}",
            r"(?P<uri>://[^\s/:@\"'\\]*:)[^\s/\"'\\]+(?=@)",
            r"(?P<name>(?i:api[_-]?key|password|passwd|client_secret)\\?[\"']?\s?[:=]\s?\\?[\"']?)[^\s\"'\\,;&}]{4,}",
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
        )
    ),
    re.DOTALL,
)
# A JSON Web Token. What only begins like one is matched as well, without group 1, and put back: looked at again from every
# place in it, a long text of such beginnings takes minutes.
_JWT = re.compile(r"\beyJ[\w-]{6,}+(\.[\w-]{4,}+(?:\.[\w-]*+)?)?")
# Looked for first, because it is cheap: most lines have none of them.
_HINTS = (
    "eyJ",
    "earer",
    "EARER",
    "asic",
    "ASIC",
    "@",
    "sk",
    "xai-",
    "hf_",
    "gh",
    "AI",
    "AK",
    "ey",
    "EY",
    "ass",
    "ASS",
    "ecret",
    "ECRET",
)


class Scrubber:
    """Removes secrets from text."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._known: re.Pattern[str] | None = None

    def hide(self, value: str) -> None:
        """Makes a value known as secret. Of a URI it is the password."""
        for secret in _parts(value):
            if len(secret) >= _SHORTEST:
                escaped = (json.dumps(secret, ensure_ascii=plain)[1:-1] for plain in (True, False))
                self._forms.update((secret, *escaped, quote(secret, safe=""), repr(secret)[1:-1]))
        if self._forms:
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._known = re.compile("|".join(re.escape(form) for form in longest_first))

    def scrub(self, text: str) -> str:
        """Returns the text without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if any(hint in text for hint in _HINTS):
            text = _JWT.sub(lambda found: MASK if found[1] else found[0], text)
            text = _SHAPES.sub(_masked, text)
        return text


# One process has one set of secrets, whoever writes the line.
_of_process = Scrubber()
hide = _of_process.hide
scrub = _of_process.scrub


def scrub_data(value: Any) -> Any:
    """Returns the same data, strings in it scrubbed; keys stay as they are."""
    if isinstance(value, str):
        # An enum's member stays one.
        clean = scrub(value)
        return value if clean == value else clean
    if isinstance(value, Mapping):
        return {key: scrub_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_data(item) for item in value]
    return value


def _parts(value: str) -> set[str]:
    if "://" not in value:
        return {value.strip()}
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        return {value}
    return {password, unquote(password)}


def _masked(found: re.Match[str]) -> str:
    said = found.lastgroup
    return (found[said] if said else "") + MASK
