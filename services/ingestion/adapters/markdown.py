"""Markdown as people write it, brought to the one form that passages are cut from."""

from __future__ import annotations

import re

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<fields>(?:[^\n]*\n){0,200}?)(?:---|\.\.\.)[ \t]*(?:\n+|\Z)")
_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(?P<title>.+?)\1[ \t]*$", re.MULTILINE | re.IGNORECASE)
_FIELD = re.compile(r"^[\w-]+[ \t]*:", re.MULTILINE)
# A line of text with a line of = or - under it; what is a list, a quote, a table or a heading above it is none.
_UNDERLINED = re.compile(
    r"(?:\A|(?<=\n\n))(?P<text>(?![ \t#>|*+-]|\d+[.)] |```|~~~)[^\n|]+)\n(?P<line>={2,}|-{2,})[ \t]*(?=\n|\Z)"
)
# A character that CommonMark lets a backslash escape; code is left alone, where a backslash is one.
_ESCAPED = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|(?P<before>^ *)?\\(?P<character>[!-/:-@\[-`{-~])|&#9;", re.MULTILINE | re.DOTALL
)
_IMAGE = re.compile(r"!\[([^\]]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\")?\)")


def without_front_matter(text: str) -> tuple[str, str]:
    """Returns a Markdown text without the fields that stand above it, and the title among them; "" where there is none."""
    found = _FRONT_MATTER.match(text)
    if found is None or not _FIELD.search(found["fields"]):
        return text, ""
    title = _TITLE.search(found["fields"])
    return text[found.end() :], title["title"].strip() if title else ""


def with_marked_headings(text: str) -> str:
    """Returns a Markdown text with # before the headings that are underlined (Setext)."""
    return _UNDERLINED.sub(lambda found: f"{'#' if found['line'][0] == '=' else '##'} {found['text'].strip()}", text)


def without_images(text: str) -> str:
    """Returns a Markdown text with what its images are said to show in place of them: where they lie says nothing."""
    return _IMAGE.sub(r"\1", text)


def without_escapes(text: str) -> str:
    """Returns a Markdown text as it is read, without the backslashes that a converter puts before punctuation, tabs as spaces.

    Kept where the character would mean something else without: | anywhere, # at the start of a line.
    """

    def shown(found: re.Match[str]) -> str:
        character = found["character"] or " "
        if found["code"] or character == "|" or (character == "#" and found["before"] is not None):
            return found[0]
        return (found["before"] or "") + character

    return _ESCAPED.sub(shown, text)
