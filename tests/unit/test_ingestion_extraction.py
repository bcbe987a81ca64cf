"""Text out of bytes."""

from __future__ import annotations

import pytest

from common.errors import UnreadableDocumentError
from common.settings import REPOSITORY
from services.ingestion.adapters.extraction import extract
from services.ingestion.adapters.pdf import flowing
from services.ingestion.domain.errors import DocumentTooLongError
from services.ingestion.domain.formats import CSV, DOCX, EML, HTML, JSON, MARKDOWN, PDF, PLAIN, PPTX, XLSX
from tests.fakes.files import docx, eml, pdf, pptx, xlsx

SAMPLES = REPOSITORY / "samples" / "nopal-fibra"


def test_plain_text_and_its_first_line_as_title():
    extracted = extract("Guía rápida\r\n\r\nReinicie el módem.".encode(), PLAIN)
    assert extracted.text == "Guía rápida\n\nReinicie el módem."
    assert extracted.title == "Guía rápida"


@pytest.mark.parametrize("text", ["It is a sentence.\nMore", "x" * 101])
def test_a_first_line_that_is_no_title(text):
    assert extract(text.encode(), PLAIN).title == ""


def test_markdown_is_kept_and_its_heading_is_the_title():
    text = "intro\n\n# Planes #\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    extracted = extract(text.encode(), MARKDOWN)
    assert (extracted.text, extracted.title) == (text, "Planes")


def test_html_becomes_markdown_without_its_scripts():
    head = "<head><title>Corte de luz</title><script>var secret=1</script></head>"
    page = f"<html>{head}<body><h1>Corte</h1><p>Llame al <b>900</b>.</p></body></html>"
    extracted = extract(page.encode(), HTML)
    assert extracted.title == "Corte de luz"
    assert "# Corte" in extracted.text
    assert "900" in extracted.text
    assert "secret" not in extracted.text
    assert "<p>" not in extracted.text


def test_docx_becomes_markdown():
    extracted = extract(docx("El técnico llega entre 9 y 12.", heading="Visitas"), DOCX)
    assert "# Visitas" in extracted.text
    assert "El técnico llega entre 9 y 12." in extracted.text
    assert extracted.title == "Visitas"


def test_pdf_keeps_its_pages():
    extracted = extract(pdf("Primera página", "Segunda señal", "Tercera"), PDF)
    assert len(extracted.page_starts) == 3
    assert extracted.text[extracted.page_starts[1] :].startswith("Segunda señal")
    assert extracted.page_starts[0] == 0


@pytest.mark.parametrize(
    ("file", "content_type", "words"),
    [
        ("es/planes-y-precios.md", MARKDOWN, "Fibra Penca"),
        ("es/glosario.txt", PLAIN, ""),
        ("en/parental-control.html", HTML, ""),
        ("es/quejas-y-escalamiento.docx", DOCX, ""),
        ("es/modem-y-luces.pdf", PDF, ""),
    ],
)
def test_the_samples_are_read_with_a_title(file, content_type, words):
    extracted = extract((SAMPLES / file).read_bytes(), content_type)
    assert extracted.title
    assert len(extracted.text) > 500
    assert words in extracted.text


def test_a_presentation_keeps_its_slides():
    extracted = extract(pptx(("Visitas", "Entre 9 y 12."), ("Garantía", "Dos años.")), PPTX)
    assert extracted.title == "Visitas"
    first, second = extracted.page_starts
    assert (first, extracted.text[second:].split()[:2]) == (0, ["##", "Garantía"])
    assert "slide" not in extracted.text


def test_a_workbook_keeps_its_sheets_the_empty_one_counted():
    extracted = extract(xlsx({"Precios_2026": [["Plan", "Precio"], ["Penca", 399]], "Nada": [], "Zonas": [["Norte", 3]]}), XLSX)
    assert [extracted.text[start:].split("\n")[0] for start in extracted.page_starts] == [
        "## Precios_2026",
        "## Zonas",
        "## Zonas",
    ]
    assert "| Penca | 399 |" in extracted.text


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_becomes_a_table(encoding, delimiter):
    text = extract(f"plan{delimiter}año\nPenca{delimiter}2026\n".encode(encoding), CSV).text
    assert text.splitlines() == ["| plan | año |", "| --- | --- |", "| Penca | 2026 |"]


def test_json_keeps_names_and_values():
    text = extract('{"tarifas": [{"plan": "Penca", "año": 2026}], "nota": {"texto": "sin recargo"}}'.encode(), JSON).text
    assert all(word in text for word in ("tarifas", "Penca", "2026", "sin recargo"))


def test_a_mail_is_headed_by_its_subject():
    extracted = extract(eml("Corte de señal", "Desde ayer no hay señal."), EML)
    assert extracted.title == "Corte de señal"
    assert extracted.text.startswith("# Corte de señal\n")
    assert "Desde ayer no hay señal." in extracted.text
    assert "ana@nopal.example" in extracted.text


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(DocumentTooLongError, match="longer than 99 characters"):
        extract(b"x" * 100, PLAIN, 99)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_in_the_encodings_people_send(encoding):
    text = "¿Qué incluye el plan «Señal»? Año y día."
    assert extract(text.encode(encoding), PLAIN).text == text


def test_big_endian_with_its_mark():
    assert extract(b"\xfe\xff" + "señal".encode("utf-16-be"), PLAIN).text == "señal"


def test_html_in_windows_1252():
    assert "año" in extract("<p>El año pasado</p>".encode("cp1252"), HTML).text


def test_a_stray_nul_does_not_reach_the_index():
    assert "\0" not in extract(b"a" * 500 + b"\0" + b"b" * 500, PLAIN).text


@pytest.mark.parametrize("content_type", [PLAIN, MARKDOWN, HTML])
@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 4, docx("x"), b"\x89PNG\r\n\x1a\n" + bytes(64)], ids=["all", "zip", "png"]
)
def test_binary_declared_as_text_is_refused(data, content_type):
    with pytest.raises(UnreadableDocumentError, match="binary"):
        extract(data, content_type)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"%PDF-1.7\nnothing of the kind", PDF),
        (pdf("one", "two")[:200], PDF),
        ((SAMPLES / "es" / "modem-y-luces.pdf").read_bytes()[:1500], PDF),
        (b"PK\x03\x04 no archive", DOCX),
        (docx("hello")[:-60], DOCX),
        (pptx(("a", "b"))[:-60], PPTX),
        (xlsx({"a": [["b"]]})[:-60], XLSX),
        (b'{"a": 1', JSON),
    ],
    ids=["no pdf", "cut pdf", "cut sample", "no docx", "cut docx", "cut pptx", "cut xlsx", "cut json"],
)
def test_a_damaged_file_is_refused_and_said_so(data, content_type):
    with pytest.raises(UnreadableDocumentError) as refused:
        extract(data, content_type)
    assert "damaged" in refused.value.message
    assert refused.value.details == {"content_type": content_type}


def test_lines_of_a_page_flow_into_sentences():
    page = "El módem tiene tres lu-\nces que indican\n5 estados.\nLa roja avisa:\nno hay señal"
    assert flowing(page) == "El módem tiene tres luces que indican 5 estados.\nLa roja avisa:\nno hay señal"
