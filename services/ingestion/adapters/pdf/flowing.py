"""Sentences out of the lines of a page."""

from __future__ import annotations


def flowing(page: str) -> str:
    """Joins the lines of a page into sentences: a PDF keeps where lines end, not why."""
    lines = [line.strip() for line in page.replace("\r", "\n").split("\n")]
    text = ""
    for line in filter(None, lines):
        if not text:
            text = line
        elif text.endswith("-") and text[-2:-1].isalpha() and line[0].islower():
            text = text[:-1] + line
        elif text[-1] not in ".:;?!" and (line[0].islower() or line[0].isdigit()):
            text += " " + line
        else:
            text += "\n" + line
    return text
