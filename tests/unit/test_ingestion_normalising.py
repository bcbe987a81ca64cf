"""However a program wrote a word, the text has it one way."""

from __future__ import annotations

import unicodedata

import pytest

from services.ingestion.adapters.extraction import extract
from services.ingestion.domain.formats import HTML, MARKDOWN, PLAIN
from services.ingestion.domain.normalising import normalised
from services.ingestion.domain.texts import Extracted


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (unicodedata.normalize("NFD", "Instalación, año, façade, Größe"), "Instalación, año, façade, Größe"),
        ("tele\u00adfono", "telefono"),
        ("cero\u200bancho y \u2060unido \ufeffno", "ceroancho y unido no"),
        ("\ufb01bra de \ufb02ujo o\ufb03cina", "fibra de flujo officina"),
        ("uno\u2028dos\r\ntres\rcuatro", "uno\ndos\ntres\ncuatro"),
        ("a\x00b\x07c\td\x0ce", "abc\td\x0ce"),
        ("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("m² y Nº 5, ½ 10 €", "m² y Nº 5, ½ 10 €"),
    ],
    ids=["composed", "soft hyphen", "zero width", "ligatures", "line ends", "control", "joiners stay", "signs stay"],
)
def test_a_word_is_written_one_way(written, read):
    assert normalised(Extracted(written, title=written)) == Extracted(read, title=read)


def test_pages_begin_where_they_begin_afterwards():
    pages = [unicodedata.normalize("NFD", "acción\n\n"), "", "tele\u00adfono\n\n", "\ufb01n"]
    starts = tuple(sum(map(len, pages[:i])) for i in range(len(pages)))
    read = normalised(Extracted("".join(pages), page_starts=starts))
    ends = [*read.page_starts[1:], len(read.text)]
    assert [read.text[a:b] for a, b in zip(read.page_starts, ends, strict=True)] == ["acción\n\n", "", "telefono\n\n", "fin"]


@pytest.mark.parametrize("content_type", [PLAIN, MARKDOWN, HTML])
def test_every_format_is_read_so(content_type):
    written = unicodedata.normalize("NFD", "La instalación de \ufb01bra y tele\u00adfono")
    assert extract(written.encode(), content_type).text.strip() == "La instalación de fibra y telefono"
